"""The iterators that a handler gets: single events, records, or lists of either.

Each call of `__anext__` is complete in itself; they are no generators. So a wait that was
cancelled, by a time limit for example, can be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from runnel.core.reading import Raw, record_of
from runnel.delivery.cancellation import cancelled
from runnel.delivery.handout import Handout
from runnel.delivery.middleware_chain import MiddlewareChain

T = TypeVar("T")

#: The most events of a list, the seconds in which it may fill up, and whether it may be empty.
ListOptions = tuple[int, float | None, bool]


def _never() -> Raw | None:
    return None


class EventIterator(Generic[T]):
    """One event at a time; `make` turns a raw event into what the handler gets."""

    chain: MiddlewareChain | None = None

    def __init__(self, handout: Handout, make: Callable[[Any], T]) -> None:
        self._handout = handout
        self._make = make
        #: Returns the next event at once, or None if the handout must be asked.
        self._next: Callable[[], Raw | None] = _never

    def __aiter__(self) -> EventIterator[T]:
        return self

    async def __anext__(self) -> T:
        raw = self._next()
        if raw is None:
            raw = await self._take()
        return self._make(raw)

    def stop_shortcut(self) -> None:
        """Take the next event from the handout, and not directly from the queue."""
        self._next = _never

    async def _take(self) -> Raw:
        handout = self._handout
        await handout.enter(self)
        handout.waiting = True
        try:
            raws = await handout.take(1)
        finally:
            handout.waiting = False
        if not raws:
            raise StopAsyncIteration
        if handout.stopwatch is None and not handout.closed:
            self._next = handout.queue.next
        return raws[0]


class RecordIterator(EventIterator[T]):
    """One record at a time; `make` decodes it from the fields of an entry."""

    async def __anext__(self) -> T:
        raw = self._next()
        if raw is None:
            raw = await self._take()
        try:
            return self._make(raw[1]) if len(raw) == 2 else record_of(raw, self._make)
        except BaseException as error:
            self._handout.fail(error)
            raise


class ListIterator(Generic[T]):
    """Lists of events, or of what `make` turns each of them into."""

    chain: MiddlewareChain | None = None

    def __init__(self, handout: Handout, make: Callable[[Raw], T], options: ListOptions) -> None:
        self._handout = handout
        self._make = make
        self._options = options

    def __aiter__(self) -> ListIterator[T]:
        return self

    def stop_shortcut(self) -> None:
        """There is none: each list comes from the handout."""

    async def __anext__(self) -> list[T]:
        handout, make = self._handout, self._make
        await handout.enter(self)
        handout.waiting = True
        try:
            raws = await handout.take(*self._options)
        finally:
            handout.waiting = False
        if raws is None:
            raise StopAsyncIteration
        try:
            return [make(raw) for raw in raws]
        except BaseException as error:
            handout.fail(error)
            raise


class MiddlewareIterator(Generic[T]):
    """What the middleware yields: events, or lists of them if there are `options`.

    `event` makes an event from a raw one, `make` turns an event, or a list, into what the handler
    gets.
    """

    def __init__(
        self,
        handout: Handout,
        middleware: Sequence[Any],
        event: Callable[[Raw], Any],
        make: Callable[[Any], T],
        options: ListOptions | None = None,
    ) -> None:
        self._handout = handout
        self._event = event
        self._make = make
        self._options = options
        self.chain = MiddlewareChain(middleware, handout.queue.state, self._source)

    def __aiter__(self) -> MiddlewareIterator[T]:
        return self

    def stop_shortcut(self) -> None:
        """There is none: each item comes through the middleware."""

    async def __anext__(self) -> T:
        handout = self._handout
        await handout.enter(self)
        if handout.closed:
            await handout.at_end()
            raise StopAsyncIteration
        handout.waiting = True
        try:
            item = await self.chain.next()
            return self._make(item)
        except StopAsyncIteration:
            raise
        except BaseException as error:
            if not (isinstance(error, asyncio.CancelledError) and cancelled()):
                handout.fail(error)
            raise
        finally:
            handout.waiting = False

    async def _source(self, finish: int) -> tuple[Any, int] | None:
        handout, queue = self._handout, self._handout.queue
        if not self._options and handout.stopwatch is None and finish == len(queue.state.current):
            if (raw := queue.next()) is not None:
                return self._event(raw), 1
            finish = len(queue.state.current)
        raws = await handout.take(*(self._options or (1, None, False)), finish=finish)
        if raws is None:
            return None
        made = [self._event(raw) for raw in raws]
        return (made if self._options else made[0]), len(made)
