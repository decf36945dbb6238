"""What hands events to a handler, one at a time or in lists.

Each ask is a step of its own, not the next one of a generator: a wait that is cancelled, by a time
limit for example, may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from runnel.core.partition import Raw
from runnel.delivery.cancellation import cancelled
from runnel.delivery.handout import Handing
from runnel.delivery.middleware_chain import Chain

T = TypeVar("T")

#: The most events of a list, the seconds in which it may fill up, and whether it may be empty.
How = tuple[int, float | None, bool]


def _never() -> Raw | None:
    return None


class Singles(Generic[T]):
    """One event at a time; `make` makes of it what the handler gets."""

    chain: Chain | None = None

    def __init__(self, handing: Handing, make: Callable[[Any], T]) -> None:
        self._handing = handing
        self._make = make
        #: Gives the next event at once, if it can.
        self._next: Callable[[], Raw | None] = _never

    def __aiter__(self) -> Singles[T]:
        return self

    async def __anext__(self) -> T:
        raw = self._next()
        if raw is None:
            raw = await self._ask()
        return self._make(raw)

    def hold(self) -> None:
        """Ask before the next event is given out."""
        self._next = _never

    async def _ask(self) -> Raw:
        handing = self._handing
        await handing.enter(self)
        handing.waiting = True
        try:
            raws = await handing.ask(1)
        finally:
            handing.waiting = False
        if not raws:
            raise StopAsyncIteration
        if handing.watch is None and not handing.closed:
            self._next = handing.queue.next
        return raws[0]


class Records(Singles[T]):
    """One record at a time; `make` makes it of an entry's fields."""

    async def __anext__(self) -> T:
        raw = self._next()
        if raw is None:
            raw = await self._ask()
        try:
            return self._make(raw[1])
        except BaseException as error:
            self._handing.broke(error)
            raise


class Lists(Generic[T]):
    """Lists of events, or of what `make` makes of each."""

    chain: Chain | None = None

    def __init__(self, handing: Handing, make: Callable[[Raw], T], how: How) -> None:
        self._handing = handing
        self._make = make
        self._how = how

    def __aiter__(self) -> Lists[T]:
        return self

    def hold(self) -> None:
        """It always asks."""

    async def __anext__(self) -> list[T]:
        handing, make = self._handing, self._make
        await handing.enter(self)
        handing.waiting = True
        try:
            raws = await handing.ask(*self._how)
        finally:
            handing.waiting = False
        if raws is None:
            raise StopAsyncIteration
        try:
            return [make(raw) for raw in raws]
        except BaseException as error:
            handing.broke(error)
            raise


class Wrapped(Generic[T]):
    """What comes through the middleware: events, or lists of them if `how` says so.

    `event` makes an event, `make` what the handler gets of it, or of a list.
    """

    def __init__(
        self,
        handing: Handing,
        middleware: Sequence[Any],
        event: Callable[[Raw], Any],
        make: Callable[[Any], T],
        how: How | None = None,
    ) -> None:
        self._handing = handing
        self._event = event
        self._make = make
        self._how = how
        self.chain = Chain(middleware, handing.queue.state, self._source)

    def __aiter__(self) -> Wrapped[T]:
        return self

    def hold(self) -> None:
        """It always asks."""

    async def __anext__(self) -> T:
        handing = self._handing
        await handing.enter(self)
        if handing.closed:
            await handing.ended()
            raise StopAsyncIteration
        handing.waiting = True
        try:
            item = await self.chain.next()
            return self._make(item)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            if not (isinstance(error, asyncio.CancelledError) and cancelled()):
                handing.broke(error)
            raise
        finally:
            handing.waiting = False

    async def _source(self, finish: int) -> tuple[Any, int] | None:
        handing, queue = self._handing, self._handing.queue
        if not self._how and handing.watch is None and finish == len(queue.state.in_hand):
            if (raw := queue.next()) is not None:
                return self._event(raw), 1
            finish = len(queue.state.in_hand)
        raws = await handing.ask(*(self._how or (1, None, False)), finish=finish)
        if raws is None:
            return None
        made = [self._event(raw) for raw in raws]
        return (made if self._how else made[0]), len(made)
