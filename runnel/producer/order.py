"""One at a time, in the order of asking; but nobody is held up by one who waits for room.

As `asyncio.Lock`, where nobody is inside, which is so at most sends, this one is taken by an
assignment. And whoever is inside, and was told that a partition is full, can see to those who wait:
tell those who do not wait for room that there is none, and let those in who make room themselves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from runnel.errors import another


class Visitor(NamedTuple):
    """Somebody who waits at the gate with something to send."""

    what: object
    turn: asyncio.Future[None]
    #: When they asked, and until when they wait for room.
    since: float = 0.0
    until: float = inf
    #: Do they make room by themselves?
    drops: bool = False


class SendOrder:
    """Lets one in after the other. `inside` is what the one inside sends: whoever sees that there
    is nothing may set it, before anything else runs, and is inside."""

    def __init__(self) -> None:
        self.inside: object | None = None
        self._queue: deque[Visitor] = deque()
        #: What the one inside sleeps on.
        self._stir: asyncio.Future[None] | None = None

    async def enter(self, what: object, since: float, until: float, drops: bool) -> None:
        """Wait to be let in. Raises what `turn_away` says."""
        if self.inside is None:
            self.inside = what
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(Visitor(what, turn, since, until, drops))
        if self._stir is not None and not self._stir.done():
            self._stir.set_result(None)
        await self._let_in(what, turn)

    def leave(self, what: object) -> None:
        """Let the next one in who still waits, if this one is inside."""
        if self.inside is not what:
            return
        while self._queue:
            visitor = self._queue.popleft()
            if not visitor.turn.done():
                self.inside = visitor.what
                visitor.turn.set_result(None)
                return
        self.inside = None

    def turn_away(self, error: Exception, whom: Callable[[Visitor], bool]) -> None:
        """Have the waits of some end with this error."""
        for visitor in self._queue:
            if not visitor.turn.done() and whom(visitor):
                visitor.turn.set_exception(another(error))

    async def step_aside(self) -> None:
        """Let those in first who make room themselves, and come in again behind them.

        Cancelled meanwhile, one is not inside any more.
        """
        waiting = [each for each in self._queue if not each.turn.done()]
        first = [each for each in waiting if each.drops]
        if not first:
            return
        what, turn = self.inside, asyncio.get_running_loop().create_future()
        rest = [each for each in waiting if not each.drops]
        self._queue = deque((*first, Visitor(what, turn), *rest))
        self.leave(what)
        await self._let_in(what, turn)

    async def rest(self, seconds: float) -> None:
        """Sleep so long at the most: shorter if somebody comes, or does not wait for longer."""
        loop = asyncio.get_running_loop()
        first = min((each.until for each in self._queue if not each.turn.done()), default=inf)
        seconds = max(0.0, min(seconds, first - loop.time()))
        self._stir = stir = loop.create_future()
        try:
            await asyncio.wait((stir,), timeout=seconds)
        finally:
            self._stir = None

    async def _let_in(self, what: object, turn: asyncio.Future[None]) -> None:
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave(what)  # Let in, and cancelled before it could begin.
            raise
