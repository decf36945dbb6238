"""One at a time, in the order of asking.

As `asyncio.Lock`, which only a coroutine can take: where nobody is inside, this one is taken by an
assignment, which is all that most sends need.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Gate:
    """Lets one in after the other. `taken` says that somebody is inside; whoever sees that nobody
    is may set it, before anything else runs, and is inside."""

    def __init__(self) -> None:
        self.taken = False
        self._queue: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Wait to be let in."""
        if not self.taken:
            self.taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()  # Let in, and cancelled before it could begin.
            raise

    def leave(self) -> None:
        """Let the next one in who still waits."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken = False
