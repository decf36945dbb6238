"""How long an event is in hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watch:
    """Calls `late` once `start` was followed by no `stop` for so many seconds.

    One timer serves many events: it looks when the first of them would have been late.
    """

    def __init__(self, seconds: float, late: Callable[[], None]) -> None:
        self.seconds = seconds
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Something is in hand from now on."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._look)

    def stop(self) -> float | None:
        """Nothing is in hand any more. Returns for how many seconds something was."""
        since, self._since = self._since, None
        return None if since is None else self._loop.time() - since

    def close(self) -> None:
        """Look no more."""
        self._since = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._since is None:
            return
        left = self._since + self.seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._late()
