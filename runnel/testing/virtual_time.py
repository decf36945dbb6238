"""The time of a test: it stands still until the test, or a drain that only waits, moves it on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any


class VirtualTime:
    """`now` is in seconds, and begins with the time of day."""

    def __init__(self) -> None:
        self.now = time.time()
        #: Each wait -> when it ends, and who waits.
        self._waits: dict[asyncio.Timeout, tuple[float, Hashable]] = {}
        #: How often a wait has begun or ended.
        self.changes = 0

    def ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self.now * 1000)

    def next(self) -> float | None:
        """When the first wait ends."""
        return min((when for when, _ in self._waits.values()), default=None)

    def waiting(self, who: Hashable) -> int:
        """How many waits somebody has."""
        return sum(other == who for _, other in self._waits.values())

    def move_to(self, when: float) -> None:
        """Go on to this time, and end the waits that are over by then."""
        self.now = max(self.now, when)
        at_once = asyncio.get_running_loop().time()
        for timeout, (ends, _) in list(self._waits.items()):
            if ends <= self.now:
                del self._waits[timeout]
                timeout.reschedule(at_once)
        self.changes += 1

    @asynccontextmanager
    async def until(self, when: float | None, who: Hashable) -> AsyncIterator[None]:
        """Ends the wait inside with TimeoutError at this time."""
        async with asyncio.timeout(None) as timeout:
            if when is not None and when <= self.now:
                timeout.reschedule(asyncio.get_running_loop().time())
            elif when is not None:
                self._waits[timeout] = when, who
            self.changes += 1
            try:
                yield
            finally:
                self._waits.pop(timeout, None)
                self.changes += 1


class VirtualDeadlines:
    """The waits of one partition: see `runnel.delivery.deadlines`."""

    def __init__(self, time: VirtualTime, who: Hashable) -> None:
        self._time = time
        self._who = who

    def now(self) -> float:
        return self._time.now

    def at(self, when: float | None) -> AbstractAsyncContextManager[Any]:
        return self._time.until(when, self._who)
