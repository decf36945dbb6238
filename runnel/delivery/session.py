"""Knows until when a worker is certainly a member of its group."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

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
        forked.watch(self)

    def alive(self) -> bool:
        """Is it certain that the session has not ended?"""
        if self.clock() < self.ends:
            return True
        forked.check()
        return False

    def renew(self, ends: float) -> None:
        """The session lasts until `ends`. Wakes all that wait for it."""
        self.lapses += not self.alive()
        self.ends = ends
        self._renewed.set()

    def forked(self) -> None:
        """This process is a fork of the worker's: nothing is begun here."""
        self.ends = -math.inf

    def wake_waiters(self) -> None:
        """Let all that wait for the session check whether they still need to."""
        self._renewed.set()

    async def renewed(self) -> None:
        """Wait for the next renewal, or for `wake_waiters`."""
        self._renewed.clear()
        await self._renewed.wait()
