"""Sees to it that a worker's process ends, whatever runs in it.

An event loop may be blocked, user code may swallow its cancellation, a thread may wait for ever,
and Python joins threads at its end. So a thread waits for the first reason to end, and ends the
process itself if it is still there when the grace and a second are over.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from runnel.log import logger_of
from runnel.worker import forks, stuck

logger = logger_of("runnel.worker")

#: Seconds that a process may take to end once the grace is over. With what it takes to say what
#: was stuck, that is a second.
MARGIN = 0.7
#: Seconds for what is said: who reads the log may be stuck.
SAY = 0.3
#: Seconds from a signal until it is answered. The same one again before that is no second request:
#: `timeout` and others signal a process, and then its whole group.
TOGETHER = 0.05
#: Seconds after which no Python code runs for certain: a C call holds the interpreter.
HELD = 0.6
INTERRUPTED = 130


class Shutdown:
    """`grace` is in seconds. `work` is what runs. Without `force` the process is another program's,
    and is left alone."""

    def __init__(self, grace: float, work: stuck.Work, force: bool = True) -> None:
        self._grace = grace
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Exit codes of the reasons to end. A signal may come in the middle of anything: putting
        #: something into this queue takes no lock.
        self._reasons: SimpleQueue[tuple[int, str]] = SimpleQueue()
        #: The signal that asked for the end, and whether its sender has been told so.
        self._asked: int | None = None
        self._answered = False
        self._closed = threading.Event()
        self._force = force
        self._before: dict[signal.Signals, Any] = {}
        self._voice = Voice()
        watch = self._watch if force else self._tell
        threading.Thread(target=watch, name="runnel-shutdown", daemon=True).start()

    def because(self, code: int, said: str = "") -> None:
        """The process is to end, with this exit code. `said` is logged."""
        self._reasons.put((code, said))

    def on_signals(self, stop: Callable[[], None]) -> None:
        """From now on SIGTERM and SIGINT call `stop` in the running event loop. A second one, once
        it has been said that the first was heard, ends the process at once, even if the loop is
        blocked."""
        loop = self._loop = asyncio.get_running_loop()

        def heard(number: int, frame: FrameType | None) -> None:
            if self._asked == number and not self._answered:
                return
            if self._asked is not None:
                os._exit(INTERRUPTED)
            self._asked = number
            self.because(0, "stopping: finishing what is in hand (again to end at once)")
            with suppress(RuntimeError):  # The loop has ended, and the process is about to.
                loop.call_soon_threadsafe(stop)

        for number in forks.ENDING:
            self._before[number] = signal.signal(number, heard)
        forks.watch()

    def close(self) -> None:
        """Leave signals to another program again, if the process is one's."""
        self._closed.set()
        for number, before in self._before.items():
            if not self._force:
                signal.signal(number, before)

    def _tell(self) -> None:
        while True:
            if said := self._reasons.get()[1]:
                self._say(said)

    def _watch(self) -> None:
        code, said = self._reasons.get()
        end = time.monotonic() + self._grace + MARGIN
        self._even_if_held(self._grace + MARGIN + HELD)
        while True:
            if said:
                self._say(said)
            try:
                later, said = self._reasons.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                break
            code = code or later
        self._even_if_held(HELD + SAY)
        try:
            told = stuck.told(self._work, self._loop)
        except Exception as error:  # It looks at what other threads change meanwhile.
            told = f"what, cannot be told ({error})"
        self._voice.say(
            logging.ERROR,
            f"ended by force with exit code {code}, since the grace of {self._grace:g} s is over "
            f"and this still goes on: {told}",
        )
        os._exit(code & 0xFF)

    def _say(self, text: str) -> None:
        if self._asked is not None and not self._answered:
            self._closed.wait(TOGETHER)
        self._voice.say(logging.INFO, text, self._answer)

    def _answer(self) -> None:
        """Before the line is to be seen: who sees it may signal again at once."""
        self._answered = self._asked is not None

    def _even_if_held(self, seconds: float) -> None:
        """A thread of C ends the process with 1 after showing where its threads are."""
        with suppress(RuntimeError, ValueError, OSError):  # If there is no stderr to show it on.
            faulthandler.dump_traceback_later(seconds, exit=True, file=sys.stderr)


class Voice:
    """Logs in a thread of its own, and waits for that, but not for ever."""

    def __init__(self) -> None:
        self._texts: SimpleQueue[tuple[int, str, Callable[[], object], threading.Event]]
        self._texts = SimpleQueue()
        # Made now: while the interpreter ends it starts no thread.
        threading.Thread(target=self._speak, name="runnel-shutdown-log", daemon=True).start()

    def say(self, level: int, text: str, first: Callable[[], object] = lambda: None) -> None:
        """Call `first`, log the text, and flush what was printed."""
        said = threading.Event()
        self._texts.put((level, text, first, said))
        said.wait(SAY)

    def _speak(self) -> None:
        while True:
            level, text, first, said = self._texts.get()
            first()
            with suppress(Exception):
                logger.log(level, "%s", text)
                for each in (*logging.getLogger().handlers, sys.stdout, sys.stderr):
                    each.flush()
            said.set()
