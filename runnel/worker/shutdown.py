"""Makes sure that a worker's process ends, whatever runs in it.

The event loop may be blocked, user code may swallow its cancellation, a thread may never end, and
Python joins threads before it exits. So a thread waits for the first reason to end, and kills the
process if it still exists a second after `shutdown_timeout`.
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

#: Seconds that a process may take to end after the timeout. Together with the time to log what is
#: stuck, that is a second.
MARGIN = 0.7
#: Seconds to wait until a line is logged: the handler of the log may be stuck, too.
LOG_TIMEOUT = 0.3
#: Seconds from a signal until the line that answers it is logged. The same signal again before that
#: is no second request: `timeout` and others signal a process, and then its whole group.
SAME_SIGNAL = 0.05
#: Seconds after which it is certain that no Python code can run: a C call holds the interpreter.
HELD = 0.6
INTERRUPTED = 130


class Shutdown:
    """`timeout` is the setting `shutdown_timeout`, in seconds. `work` is what runs. Without `force`
    the process belongs to another program, and is not killed. A process that is `supervised` may be
    signalled by its supervisor and together with it: further signals mean no more than the first.
    """

    def __init__(
        self, timeout: float, work: stuck.Work, force: bool = True, supervised: bool = False
    ) -> None:
        self._timeout = timeout
        self._work = work
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Exit codes of the reasons to end, and what to log. A signal handler may run in the middle
        #: of anything, and to put an item into this queue takes no lock.
        self._reasons: SimpleQueue[tuple[int, str]] = SimpleQueue()
        #: The signal that asked the process to end, and whether that was acknowledged in the log.
        self._signal: int | None = None
        self._acknowledged = False
        self._closed = threading.Event()
        #: A signal was received, and its line is in the log.
        self._logged = threading.Event()
        self._force = force
        self._supervised = supervised
        self._before: dict[signal.Signals, Any] = {}
        self._log = LogThread()
        watch = self._watch if force else self._log_reasons
        threading.Thread(target=watch, name="runnel-shutdown", daemon=True).start()

    def because(self, code: int, text: str = "") -> None:
        """The process must end with this exit code. `text` is logged."""
        self._reasons.put((code, text))

    def on_signals(self, stop: Callable[[], None]) -> None:
        """From now on SIGTERM and SIGINT call `stop` in the running event loop. A second signal
        ends the process at once, even if the loop is blocked; but not the same signal again before
        the log has acknowledged the first."""
        loop = self._loop = asyncio.get_running_loop()

        def received(number: int, frame: FrameType | None) -> None:
            if self._signal == number and not self._acknowledged:
                return
            if self._signal is not None:
                if self._supervised:
                    return
                os._exit(INTERRUPTED)
            self._signal = number
            again = "" if self._supervised else " (signal again to end at once)"
            self.because(0, f"stopping: finishing what is running{again}")
            with suppress(RuntimeError):  # The loop is closed, and the process is about to end.
                loop.call_soon_threadsafe(stop)

        for number in forks.ENDING:
            self._before[number] = signal.signal(number, received)
        forks.watch()

    def close(self) -> None:
        """Log the signal that was received, if that is still to be done: an idle worker ends fast.
        Restore the signal handlers if the process belongs to another program."""
        self._closed.set()
        if self._signal is not None:
            self._logged.wait(LOG_TIMEOUT)
        for number, before in self._before.items():
            if not self._force:
                signal.signal(number, before)

    def _log_reasons(self) -> None:
        while True:
            if text := self._reasons.get()[1]:
                self._log_reason(text)

    def _watch(self) -> None:
        code, text = self._reasons.get()
        end = time.monotonic() + self._timeout + MARGIN
        self._even_if_held(self._timeout + MARGIN + HELD)
        while True:
            if text:
                self._log_reason(text)
            try:
                later, text = self._reasons.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                break
            code = code or later
        self._even_if_held(HELD + LOG_TIMEOUT)
        try:
            running = stuck.describe(self._work, self._loop)
        except Exception as error:  # Other threads change what it inspects.
            running = f"unknown ({error})"
        self._log.log(
            logging.ERROR,
            f"ended by force with exit code {code}, because shutdown_timeout ({self._timeout:g} s) "
            f"is over and this is still running: {running}",
        )
        os._exit(code & 0xFF)

    def _log_reason(self, text: str) -> None:
        if self._signal is not None and not self._acknowledged:
            self._closed.wait(SAME_SIGNAL)
        self._log.log(logging.INFO, text, self._acknowledge)
        if self._acknowledged:
            self._logged.set()

    def _acknowledge(self) -> None:
        """Called before the line can be seen: a program that sees it may signal again at once."""
        self._acknowledged = self._signal is not None

    def _even_if_held(self, seconds: float) -> None:
        """After so many seconds a thread of C prints the stack of each thread, and ends the process
        with exit code 1."""
        with suppress(RuntimeError, ValueError, OSError):  # There may be no stderr to print to.
            faulthandler.dump_traceback_later(seconds, exit=True, file=sys.stderr)


class LogThread:
    """Logs in a thread of its own, and waits for that, but not for ever."""

    def __init__(self) -> None:
        self._texts: SimpleQueue[tuple[int, str, Callable[[], object], threading.Event]]
        self._texts = SimpleQueue()
        # Started now, because Python starts no thread while it exits.
        threading.Thread(target=self._run, name="runnel-shutdown-log", daemon=True).start()

    def log(self, level: int, text: str, first: Callable[[], object] = lambda: None) -> None:
        """Call `first`, log a line, and flush the log and what was printed."""
        logged = threading.Event()
        self._texts.put((level, text, first, logged))
        logged.wait(LOG_TIMEOUT)

    def _run(self) -> None:
        while True:
            level, text, first, logged = self._texts.get()
            first()
            with suppress(Exception):
                logger.log(level, "%s", text)
                for each in (*logging.getLogger().handlers, sys.stdout, sys.stderr):
                    each.flush()
            logged.set()
