"""A time limit for each of many short waits, with one timer for all of them.

`asyncio.timeout` starts and stops a timer each time: about a tenth of the time of a round trip to a
server on the same machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from math import inf
from typing import Any, TypeVar

T = TypeVar("T")


class TimeLimits:
    """Ends waits of tasks of one event loop that take too long. A task has one at a time."""

    def __init__(self) -> None:
        #: When the wait of each task is to end; infinity once it was told to.
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, seconds: float | None, work: Awaitable[T]) -> T:
        """The result of `work`. Raises TimeoutError if it takes longer, after cancelling it."""
        if seconds is None:
            return await work
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        cancelled, end = task.cancelling(), loop.time() + seconds
        self._ends[task] = end
        if self._timer is None or end < self._timer.when():
            self._look_at(end, loop)
        try:
            return await work
        except asyncio.CancelledError:
            # Somebody else may have cancelled the task too: then that is what it sees.
            if self._ends[task] == inf and task.uncancel() <= cancelled:
                raise TimeoutError from None
            raise
        finally:
            del self._ends[task]

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
        for task, end in self._ends.items():
            if end <= now:
                self._ends[task] = inf
                task.cancel()
        following = min(self._ends.values(), default=inf)
        if following < inf:
            self._look_at(following, loop)
