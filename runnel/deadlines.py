"""A deadline for each of many short reads, with one timer for all of them.

`asyncio.timeout` starts and stops a timer each time, and cancels a task: about a tenth of the time
of a round trip to a server on the same machine.
"""

from __future__ import annotations

import asyncio
from math import inf


class Late(Exception):
    """What a read raises whose deadline has passed."""


class Deadlines:
    """Ends reads of one event loop that take too long. What was to be read is lost with them."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.StreamReader, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, reader: asyncio.StreamReader, seconds: float) -> None:
        """From now on whoever reads from it has so many seconds, until `end`. Then they see `Late`,
        and so do all who read from it later."""
        loop = asyncio.get_running_loop()
        self._ends[reader] = end = loop.time() + seconds
        if self._timer is None or end < self._timer.when():
            self._look_at(end, loop)

    def end(self, reader: asyncio.StreamReader) -> None:
        """There is no hurry any more."""
        self._ends.pop(reader, None)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at(self, moment: float, loop: asyncio.AbstractEventLoop) -> None:
        self.close()
        self._timer = loop.call_at(moment, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is late, and look again when the next may be. That is as long after this as a
        read may last, mostly: those that began meanwhile have their time, too."""
        now, self._timer = loop.time(), None
        for reader in [each for each, end in self._ends.items() if end <= now]:
            del self._ends[reader]
            reader.set_exception(Late())
        following = min(self._ends.values(), default=inf)
        if following < inf:
            self._look_at(following, loop)
