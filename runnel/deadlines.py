"""A deadline for each of many short waits, with one timer for all of them.

`asyncio.timeout` starts and stops a timer each time, and cancels a task: about a tenth of the time
of a round trip to a server on the same machine.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any


class Late(Exception):
    """What a wait ends with whose deadline has passed."""


class Deadlines:
    """Ends waits of one event loop that take too long."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, wait: asyncio.Future[Any], seconds: float) -> None:
        """From now on it has so many seconds, until `end`. Then whoever waits sees `Late`."""
        loop = wait.get_loop()  # To ask which loop runs takes a system call.
        self._ends[wait] = end = loop.time() + seconds
        if self._timer is None or end < self._timer.when():
            self._look_at(end, loop)

    def end(self, wait: asyncio.Future[Any]) -> None:
        """There is no hurry any more."""
        self._ends.pop(wait, None)

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
        wait may last, mostly: those that began meanwhile have their time, too."""
        now, self._timer = loop.time(), None
        for wait in [each for each, end in self._ends.items() if end <= now]:
            del self._ends[wait]
            if not wait.done():
                wait.set_exception(Late())
        following = min(self._ends.values(), default=inf)
        if following < inf:
            self._look_at(following, loop)
