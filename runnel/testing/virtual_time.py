"""The time of a test: it stands still until the test, or a drain that only waits, moves it on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

#: Sums of the same seconds in another order differ by less.
ROUNDING = 1e-5


class VirtualTime:
    """`now` is in seconds, and begins with the time of day, in the middle of a millisecond."""

    def __init__(self) -> None:
        self.now = int(time.time() * 1000) / 1000 + 0.0005
        #: What ends each wait -> when it ends, and who waits.
        self._waits: dict[Callable[[], None], tuple[float, Hashable]] = {}
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
        for end, (ends, _) in sorted(self._waits.items(), key=lambda wait: wait[1][0]):
            if ends <= self.now + ROUNDING:
                del self._waits[end]
                end()
        self.changes += 1

    def at(self, when: float, who: Hashable, call: Callable[[], None]) -> None:
        """Make a call at this time."""
        self._waits[lambda: call()] = when, who  # Also if the same call is to be made twice.
        self.changes += 1

    @asynccontextmanager
    async def until(self, when: float | None, who: Hashable) -> AsyncIterator[None]:
        """Ends the wait inside with TimeoutError at this time."""
        async with asyncio.timeout(None) as timeout:

            def end() -> None:
                timeout.reschedule(asyncio.get_running_loop().time())

            if when is not None and when <= self.now:
                end()
            elif when is not None:
                self._waits[end] = when, who
            self.changes += 1
            try:
                yield
            finally:
                self._waits.pop(end, None)
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

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self._time.at(self._time.now + seconds, self._who, call)
