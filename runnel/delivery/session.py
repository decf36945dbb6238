"""How long a worker may be sure that it is a member of its group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Session:
    """A promise counted on this worker's own clock, from before the call that renewed it.

    `clock` gives monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        #: When the session may have ended; another thread may move it.
        self.ends = 0.0
        self._renewed = asyncio.Event()

    def alive(self) -> bool:
        """Is it certain to last?"""
        return self.clock() < self.ends

    def renew(self, ends: float) -> None:
        """It lasts until then; those who wait for it go on."""
        self.ends = ends
        self._renewed.set()

    def stir(self) -> None:
        """Those who wait for it look again: what they wait for may be wanted no more."""
        self._renewed.set()

    async def renewed(self) -> None:
        """Wait for the next renewal, or until there may be nothing to wait for."""
        self._renewed.clear()
        await self._renewed.wait()
