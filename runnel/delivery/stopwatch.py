"""Measures for how long a handler has had its current event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Stopwatch:
    """Calls `late` if `start` is not followed by `stop` within so many seconds.

    One timer serves many events: it fires when the first of them would be late.
    """

    def __init__(self, seconds: float, late: Callable[[], None]) -> None:
        self.seconds = seconds
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """The handler has an event from now on."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._check)

    def restart(self, now: float) -> None:
        """The handler has the next event since `now`, a time of the loop's clock. Another thread
        may call this between `start` and `stop`."""
        self._since = now

    def stop(self) -> float | None:
        """The event is finished. Returns for how many seconds the handler had it, or None if it had
        none."""
        since, self._since = self._since, None
        return None if since is None else self._loop.time() - since

    def close(self) -> None:
        """Cancel the timer."""
        self._since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._since is None:
            return
        left = self._since + self.seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._check)
        else:
            self._late()
