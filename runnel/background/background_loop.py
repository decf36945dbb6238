"""`BackgroundLoop`: an event loop in a thread of its own, which makes calls for other threads."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from runnel.background.waiters import Waiter, start_thread, waiter

T = TypeVar("T")
logger = logging.getLogger("runnel.background")

#: Name of the thread.
NAME = "runnel, background"


class Call(Generic[T]):
    """A call that a thread waits for: `make` returns the coroutine, which runs in the loop with the
    context variables of that thread."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.make = make
        self.context = contextvars.copy_context()
        self.waiter = waiter()
        self.task: asyncio.Task[None] | None = None
        #: Its outcome, once it is `done`.
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None
        #: Its thread does not wait any more.
        self.abandoned = False

    async def carry_out(self) -> None:
        """Make the call, and keep its outcome."""
        try:
            self.result = await self.make()
        except BaseException as error:  # The thread gets it, also a SystemExit.
            self.error = error

    def end(self, error: BaseException | None = None) -> None:
        """Wake the thread: the call has an outcome, or it never will, because of `error`."""
        if not self.done:
            self.error = self.error or error
            self.done = True
            self.waiter.wake()


class BackgroundLoop:
    """Makes calls in an event loop, in a thread of its own, which starts with `start`.

    There is no lock: a fork could inherit it while it is held. Calls go through a deque, whose
    single steps no thread can interrupt.
    """

    def __init__(self) -> None:
        #: Calls that have not begun.
        self._pending: deque[Call[Any]] = deque()
        #: Calls under way. Only the loop uses it.
        self._calls: set[Call[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = False
        #: Wakes the thread that waits in `close`.
        self._closer: Waiter | None = None
        #: The loop runs no more, and why.
        self.over = False
        self._error: BaseException | None = None

    @property
    def running(self) -> bool:
        """Has its thread begun? Not if the process runs no threads."""
        return self._loop is not None or self.over

    def start(self) -> None:
        """Start the thread. Raises RuntimeError if there can be none."""
        start_thread(self._serve, NAME)

    def is_running_here(self) -> bool:
        """Is this the thread of the loop?"""
        return self._loop is not None and asyncio.get_running_loop() is self._loop

    def submit(self, call: Call[Any]) -> None:
        """Make the call soon; its waiter is woken in the end, whatever happens."""
        self._pending.append(call)
        self._wake()

    def abandon(self, call: Call[Any]) -> None:
        """Cancel the call: nobody waits for it any more."""
        call.abandoned = True
        self._wake()
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(self._cancel, call)

    def close(self, patience: float) -> None:
        """End the loop and close its connections. Calls under way have `patience` seconds to end,
        and the rest as much again."""
        self._closer = closer = waiter()
        self._ending = True
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(self._begin_to_end, patience)
        if not self.over:
            closer.wait(2 * patience)

    def _wake(self) -> None:
        loop = self._loop
        if self.over:
            self._fail_pending()
        elif loop is not None:
            try:
                loop.call_soon_threadsafe(self._begin_pending)
            except RuntimeError:  # The loop is closed.
                self._fail_pending()

    # In the thread of the loop

    def _serve(self) -> None:
        try:
            with asyncio.Runner() as runner:
                loop = runner.get_loop()
                loop.call_soon(self._begin_pending)
                self._loop = loop
                while not self._ending and not loop.is_closed():
                    self._run(loop)
        except BaseException as error:
            self._error = error
            logger.debug("the background loop ended", exc_info=error)
        finally:
            self.over = True
            for call in list(self._calls):
                call.end(asyncio.CancelledError())
            self._fail_pending()
            if self._closer is not None:
                self._closer.wake()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.run_forever()
        except BaseException as error:  # User code that a task ran: `sys.exit`, for instance.
            logger.debug("the background loop continues", exc_info=error)

    def _begin_pending(self) -> None:
        assert self._loop is not None
        while self._pending:
            call = self._pending.popleft()
            if call.abandoned:
                call.end()
                continue
            call.task = self._loop.create_task(call.carry_out(), context=call.context)
            self._calls.add(call)
            call.task.add_done_callback(partial(self._finish, call))

    def _finish(self, call: Call[Any], task: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        # It may be cancelled before its first step.
        call.end(asyncio.CancelledError() if task.cancelled() else None)

    def _cancel(self, call: Call[Any]) -> None:
        if call.task is not None:
            call.task.cancel()

    def _begin_to_end(self, patience: float) -> None:
        assert self._loop is not None
        self._end_task = self._loop.create_task(self._end(self._loop, patience))

    async def _end(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        tasks = [call.task for call in self._calls if call.task is not None]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=patience)
        finally:
            loop.stop()

    def _fail_pending(self) -> None:
        with contextlib.suppress(IndexError):  # Several threads may do this at a time.
            while True:
                self._pending.popleft().end(self._error or asyncio.CancelledError())
