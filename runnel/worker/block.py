"""Lets a worker run in the program of a user: in a block, or as a task that can be cancelled.

Nothing here belongs to a process: no signal handler, unless it is asked for, no logging, no exit.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from runnel.errors import ConfigError, RunnelError
from runnel.log import logger_of
from runnel.worker.cancelling import cancel_and_wait
from runnel.worker.health import Health, LoopBeat, Part, judge
from runnel.worker.signals import Signals

logger = logger_of("runnel.worker")


class Block(ABC):
    """What `Worker` can do in a program: `run` may be cancelled, and ``async with`` runs it."""

    def __init__(self, member: str, signals: bool) -> None:
        self.member = member
        self.stop = asyncio.Event()
        #: Set once the startup functions have returned, and the worker begins to work.
        self.started = asyncio.Event()
        self._signals = Signals() if signals else None
        self._beat = LoopBeat()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    async def work(self) -> None:
        """Work until `stop` is set, or it fails."""

    async def run_until_cancelled(self) -> None:
        """Work in a task of its own. If this call is cancelled, the worker ends as if `stop` were
        set, and the call waits for that; if it is cancelled again, the worker ends at once."""
        if self._loop is not None:
            raise ConfigError(f"worker {self.member} has run: make a new Worker for each run")
        self._loop = asyncio.get_running_loop()
        self._beat.begin(self._loop)
        if self._signals:
            self._signals.install(self.end)
        task = asyncio.create_task(self.work(), name=f"worker {self.member}")
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            self.stop.set()
            try:
                await asyncio.wait([task])
            finally:
                await cancel_and_wait([task])
                if not task.cancelled() and (error := task.exception()):
                    logger.error("worker %s, which was cancelled: %s", self.member, error)
            raise
        finally:
            self._beat.end()
            if self._signals:
                self._signals.restore()
        task.result()

    def judged(self, max_block: float, parts: Iterable[Part]) -> Health:
        """The health of a worker whose parts are to work. Any thread may call this."""
        started, stopping = self.started.is_set(), self.stop.is_set()
        return judge(self._beat.blocked_for(), max_block, started, stopping, parts)

    def end(self) -> None:
        """Begin to end, as on SIGTERM. Any thread may call this."""
        if self._loop is None or self._loop.is_closed():
            self.stop.set()
        else:
            self._loop.call_soon_threadsafe(self.stop.set)

    async def __aenter__(self) -> Self:
        """Start the worker, and wait until its startup functions have returned. Raises the error of
        a worker that does not start."""
        self._task = asyncio.create_task(self.run_until_cancelled())
        started = asyncio.create_task(self.started.wait())
        try:
            await asyncio.wait((self._task, started), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await cancel_and_wait([self._task])
            raise
        finally:
            started.cancel()
        if self._task.done():
            self._task.result()
        self._task.add_done_callback(self._ended)
        return self

    async def wait(self) -> None:
        """Wait in a block until the worker has ended by itself. Raises its error."""
        if self._task is None:
            raise ConfigError("wait() is for a worker that runs in a block: async with Worker(app)")
        await asyncio.wait([self._task])
        self._task.result()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the worker, and wait until it has released everything. Raises its error, unless the
        block has raised another one."""
        task, self._task = self._task, None
        assert task is not None
        task.remove_done_callback(self._ended)
        alone = not task.done()
        self.stop.set()
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            await cancel_and_wait([task])
            raise
        if error is None:
            task.result()
        elif alone and not task.cancelled() and (own := task.exception()):
            logger.error("worker %s: %s", self.member, own)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Log the error of a worker that has ended by itself: the block may run on for long."""
        if not task.cancelled() and (error := task.exception()):
            known = isinstance(error, RunnelError)
            logger.error(
                "worker %s has ended: %s", self.member, error, exc_info=None if known else error
            )
