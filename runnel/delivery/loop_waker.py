"""Lets the threads of plain functions wake the event loop, and lets the loop run before them.

Python runs one thread at a time, and changes between threads that are busy every 5 ms. With many
of them, the loop would have its turn too seldom to read, to commit and to send heartbeats in time.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress

#: Seconds after which a thread waits for a loop that was woken and has not run; and for how long at
#: most, since other code may block the loop.
PATIENCE, LONGEST_WAIT = 0.002, 0.05


class LoopWaker:
    """That of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._calls: deque[Callable[[], None]] = deque()
        #: Since when the loop was woken and has not run; None if it was not.
        self._since: float | None = None
        self._ran = threading.Event()

    def call(self, function: Callable[[], None], now: float) -> None:
        """Have the loop call a function soon."""
        self._calls.append(function)
        if self._since is None:
            self._since = now
            self._ran.clear()
            loop = self._loop()
            with suppress(RuntimeError):  # It is closed.
                if loop is not None:
                    loop.call_soon_threadsafe(self._run)

    def let_run(self, now: float) -> None:
        """Wait a moment for the loop if it was woken and has not run for a while."""
        since = self._since
        if since is not None and now - since > PATIENCE:
            self._ran.wait(LONGEST_WAIT)

    def _run(self) -> None:
        self._since = None  # First: a call that is added from now on wakes the loop again.
        self._ran.set()
        try:
            while self._calls:
                self._calls.popleft()()
        finally:
            if self._calls and (loop := self._loop()) is not None:  # One has failed.
                loop.call_soon(self._run)


_wakers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopWaker] = (
    weakref.WeakKeyDictionary()
)


def waker_of(loop: asyncio.AbstractEventLoop) -> LoopWaker:
    """The one of this loop, which runs. All threads that work for it share it."""
    found = _wakers.get(loop)
    if found is None:
        found = _wakers[loop] = LoopWaker(loop)
    return found
