"""Runs worker processes: `runnel worker --processes` and `--reload`.

Each is a new interpreter. This process imports neither the app nor redis, runs no event loop, and
does nothing but wait for the next thing that happens: a signal, the end of a process, a change.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from runnel.cli import exits, fleet_health
from runnel.cli.child_process import ChildProcess
from runnel.cli.fleet import Fleet
from runnel.cli.http_server import Reply
from runnel.cli.probes import Answer
from runnel.cli.worker_figures import Sum
from runnel.log import logger_of

logger = logger_of("runnel.worker")

#: Seconds in which the same signal again is no second request: `timeout` and others signal a
#: process, and then its whole group.
SAME_SIGNAL = 0.05
#: How many changed files a log line names.
SHOWN = 3


class Supervisor:
    """Starts `count` processes with the command that `command_of` gives for a number from 1.

    With `restart`, one that ends starts again. With `reload`, all start again when `changed` was
    called, and one that ends waits for that.
    """

    def __init__(
        self,
        count: int,
        command_of: Callable[[int], Sequence[str]],
        *,
        restart: bool = True,
        reload: bool = False,
    ) -> None:
        self._count = count
        self._command_of = command_of
        self._reload = reload
        self._fleet = Fleet(count, restart and not reload)
        self._children: dict[int, ChildProcess] = {}
        self._sum = Sum()
        #: Things to do, each put by a signal handler or a thread. To put one takes no lock.
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        #: Whoever puts one writes a byte to the second socket, and so does Python at a signal. The
        #: system may give it to any thread, and then nothing else wakes the main thread.
        self._waiting, self._waking = socket.socketpair()
        self._before: dict[int, Any] = {}
        #: The signal that asked for the end, and when.
        self._stopping: tuple[int, float] | None = None
        self._at_once = False
        #: Do all processes end because of a change, to start again?
        self._renewing = False

    def changed(self, names: list[str]) -> None:
        """Files have changed: start all processes anew. Any thread may call this."""
        self._put(lambda: self._renew(names))

    def health(self) -> Answer:
        """How the processes are, for probes. Any thread may call this."""
        return fleet_health.health(dict(self._children), self._count, self._stopping is not None)

    def metrics(self) -> Reply:
        """The figures of all processes. Any thread may call this."""
        return self._sum.page(lambda: [each.told.figures for each in list(self._children.values())])

    def run(self) -> int:
        """Run until all processes have ended for good. Returns the exit code: the worst of theirs,
        or 130 after a second signal."""
        self._handle_signals()
        try:
            while not self._over():
                self._start_due()
                self._kill_overdue()
                self._carry_out()
        finally:
            for child in self._children.values():
                child.kill()
                child.close()
            for number, before in self._before.items():
                signal.signal(number, before)
            signal.set_wakeup_fd(-1)
        if self._at_once:
            return exits.INTERRUPTED
        return exits.OK if self._reload else self._fleet.worst(asked=self._stopping is not None)

    def _handle_signals(self) -> None:
        def received(number: int, frame: FrameType | None) -> None:
            now = time.monotonic()
            self._put(lambda: self._signalled(number, now))

        def child_ended(number: int, frame: FrameType | None) -> None:
            self._put(self._reap)

        for each in (self._waiting, self._waking):
            each.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, received)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, child_ended)

    def _put(self, event: Callable[[], None]) -> None:
        self._events.put(event)
        with suppress(BlockingIOError):  # Enough bytes are there.
            self._waking.send(b"\0")

    def _carry_out(self) -> None:
        """Wait for the next things to do, and do them."""
        select.select([self._waiting], [], [], self._seconds())
        with suppress(BlockingIOError):
            self._waiting.recv(65536)
        with suppress(Empty):
            while True:
                self._events.get_nowait()()

    def _over(self) -> bool:
        if self._stopping:
            return self._fleet.all_ended
        if self._reload or not self._fleet.over:
            return False
        code = self._fleet.worst()
        if self._fleet.hopeless and self._count > 1 and code != exits.OK:
            logger.error("no process could start: ending with exit code %d", code)
        return True

    def _seconds(self) -> float | None:
        """Until the next thing to do; None if only something that happens can bring one."""
        times = [child.kill_at for child in self._children.values()]
        if not self._stopping and not self._renewing:
            times.append(self._fleet.next_start())
        now = time.monotonic()
        return min((max(0.0, each - now) for each in times if each is not None), default=None)

    def _start_due(self) -> None:
        if self._stopping or self._renewing:
            return
        for number in self._fleet.due(time.monotonic()):
            self._fleet.started(number)
            prefix = f"{number:>{len(str(self._count))}} | " if self._count > 1 else ""
            try:
                self._children[number] = ChildProcess(
                    self._command_of(number),
                    number,
                    prefix,
                    lambda child: self._put(lambda: self._works(child)),
                )
            except OSError as error:
                logger.error("process %d could not be started: %s", number, error)
                self._fleet.ended(number, exits.UNEXPECTED, time.monotonic())

    def _works(self, child: ChildProcess) -> None:
        if self._children.get(child.number) is child and child.ready_since is not None:
            self._fleet.ready(child.number, child.ready_since)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for child in self._children.values():
            if child.kill_at is not None and child.kill_at <= now:
                logger.error("process %d does not end, and is killed", child.number)
                child.kill()

    def _signalled(self, number: int, at: float) -> None:
        if self._stopping is None:
            self._stopping = number, at
            logger.info(
                "stopping: each process finishes what is running (signal again to end at once)"
            )
            for child in self._children.values():
                child.stop()
        elif number != self._stopping[0] or at - self._stopping[1] > SAME_SIGNAL:
            self._at_once = True
            for child in self._children.values():
                child.kill()

    def _renew(self, names: list[str]) -> None:
        if self._stopping:
            return
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        logger.info("%s%s changed: starting again", ", ".join(names[:SHOWN]), more)
        self._renewing = True
        for child in self._children.values():
            child.stop()
        self._renewed()

    def _renewed(self) -> None:
        if self._renewing and self._fleet.all_ended:
            self._renewing = False
            self._fleet.start_again(time.monotonic())

    def _reap(self) -> None:
        """Note which processes have ended. As process 1 of a container, this one also gets those
        whose parent has ended, and must wait for them, or they stay as zombies."""
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                own = [each for each in self._children.values() if each.pid == ended.si_pid]
                if own:
                    self._ended(own[0])
                else:
                    os.waitpid(ended.si_pid, 0)
        self._renewed()

    def _forget(self, child: ChildProcess) -> None:
        del self._children[child.number]

    def _ended(self, child: ChildProcess) -> None:
        code, now = child.close(), time.monotonic()
        self._sum.ended(child.told.figures, lambda: self._forget(child))
        if child.ready_since is not None:
            self._fleet.ready(child.number, child.ready_since)
        self._fleet.ended(child.number, code, now)
        what = f"process {child.number} (pid {child.pid}) has ended with exit code {code}"
        if self._stopping or self._renewing:
            logger.debug("%s", what)
        elif self._reload:
            logger.warning("ended with exit code %d: waiting for a change of the code", code)
        elif (start := self._fleet.start_of(child.number)) is not None:
            logger.error("%s: starting again in %.3g s", what, start - now)
        elif self._fleet.restart and not self._fleet.hopeless:
            logger.error("%s: starting again when another one works", what)
