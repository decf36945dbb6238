"""Knows until when a worker is certainly a member of its group."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from runnel.delivery import forked


class Session:
    """Measured by this worker's own clock, from before the call that renewed the session was sent.

    `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        #: When the session may have ended. Another thread may change it.
        self.ends = 0.0
        #: How often it may have ended before it was renewed. Others may have got partitions then.
        self.lapses = 0
        self._renewed = asyncio.Event()
        self._process, self._thread = os.getpid(), threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        forked.watch(self)

    def alive(self) -> bool:
        """Is it certain that the session has not ended?"""
        if self.clock() < self.ends:
            return True
        forked.check(self._process)
        return False

    def renew(self, ends: float) -> None:
        """The session lasts until `ends`. Wakes all that wait for it."""
        self.lapses += not self.alive()
        self.ends = ends
        self._renewed.set()

    def forked(self) -> None:
        """This process is a fork of the worker's: nothing is begun here. If it comes back to the
        event loop, which it shares with its parent, it ends before it does anything there."""
        self.ends = -math.inf
        loop = self._loop
        if loop is not None and self._thread == threading.get_ident() and not loop.is_closed():
            loop.call_soon(forked.check, self._process)

    def wake_waiters(self) -> None:
        """Let all that wait for the session check whether they still need to."""
        self._renewed.set()

    async def renewed(self) -> None:
        """Wait for the next renewal, or for `wake_waiters`."""
        self._renewed.clear()
        await self._renewed.wait()
