"""`Events`: the events of one held partition, in order, which a handler iterates over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Never, TypeVar

from runnel.codec.entry import EntryCodec
from runnel.core.reading import Raw, record_of
from runnel.current_event import CurrentEvent
from runnel.delivery.ahead import Ahead, Threads
from runnel.delivery.handout import Handout
from runnel.delivery.iterators import (
    EventIterator,
    ListIterator,
    ListOptions,
    MiddlewareIterator,
    RecordIterator,
)
from runnel.event import Event
from runnel.middleware import DeadLetterMiddleware
from runnel.stream import Stream

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")

#: What a function of events is to do, and what to use for one that takes a record.
EACH_RECORD = "`async for record in events.records()`"
ONE_RECORD = "a function that takes one record is declared with @app.on"


class Events(Generic[R_co]):
    """The events of one partition. Each is finished when the next one is asked for.

    Iterate over it for `Event` objects, over `records` for records alone, over `take` for lists:
    in one place at a time, else IterationError is raised. A wait for the next event may be
    cancelled, by a time limit for example, and be repeated.
    """

    def __init__(
        self,
        handout: Handout,
        codec: EntryCodec[R_co],
        middleware: Sequence[Any] = (),
        here: CurrentEvent | None = None,
    ) -> None:
        self._here = here
        self._handout = handout
        self._queue = handout.queue
        self._codec = codec
        self._middleware = middleware

    def __repr__(self) -> str:
        return f"Events(partition={self.partition})"

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self._queue.partition

    def __aiter__(self) -> AsyncIterator[Event[R_co]]:
        if self._middleware:
            return MiddlewareIterator(self._handout, self._middleware, self._event, _same)
        return EventIterator(self._handout, self._event)

    def records(self) -> AsyncIterator[R_co]:
        """The records of the events, one at a time."""
        if self._middleware:
            return MiddlewareIterator(self._handout, self._middleware, self._event, _record_of)
        return RecordIterator(self._handout, self._codec.decode)

    def take(self, n: int, within: float | None = None, *, empty: bool = False) -> Batches[R_co]:
        """Lists of up to `n` events.

        A list is given out as soon as there is anything, or with `within`, once it is full or that
        many seconds have passed since its first event. It is full, too, when no more of the
        partition may be in memory (`prefetch`); and with one event, while the one is sought that
        fails or ends its worker.

        With `empty`, a list without events is given out when none came within `within` seconds,
        so that a window can be closed. Raises ValueError for numbers that make no sense.
        """
        if n < 1:
            raise ValueError("take(n): n must be at least 1")
        if within is not None and not within >= 0:
            raise ValueError("take(n, within): within must be 0 seconds or more")
        if empty and not within:
            raise ValueError(
                "take(n, empty=True) needs within=…: the seconds after which an empty list is given"
            )
        return Batches(self, (n, within, empty))

    def emit(
        self,
        stream: Stream[T],
        record: T,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Never,
    ) -> None:
        """Send a record to another stream with the commit of the current event: see
        `Stream.emit`."""
        stream._no_time(options)
        stream._emit(self._here, record, headers)

    async def commit(self) -> None:
        """Finish all events given out, the current one included, and wait for the commit.

        Raises IterationError if the handler has failed, or run out of time, and continues
        nevertheless.
        """
        await self._handout.commit()

    def uncancellable(self) -> AbstractContextManager[None]:
        """A thread processes the current events: a time limit can only report that they take too
        long."""
        return self._handout.uncancellable()

    def ahead(
        self,
        threads: Threads,
        call: Callable[[Any], Any],
        unsettled: Callable[[Any], bool],
        with_event: bool,
    ) -> Ahead | None:
        """These events for a plain function, which a thread processes without asking for each: see
        `runnel.delivery.ahead`. `call` gets a record, or an `Event`. None if a middleware has to
        see each of them."""
        if self._here is None or any(type(e) is not DeadLetterMiddleware for e in self._middleware):
            return None
        make: Callable[[Raw], Any] = self._event if with_event else self._record
        return Ahead(self._handout, self._codec, make, self._here, threads, call, unsettled)

    def _event(self, raw: Raw) -> Event[R_co]:
        return Event(raw, self._queue.partition, self._codec)

    def _record(self, raw: Raw) -> R_co:
        return record_of(raw, self._codec.decode)


class Batches(Generic[R_co]):
    """Lists of events, or with `records` lists of records. Made by `Events.take`."""

    def __init__(self, events: Events[R_co], options: ListOptions) -> None:
        self._events = events
        self._options = options

    def __aiter__(self) -> AsyncIterator[list[Event[R_co]]]:
        e = self._events
        if e._middleware:
            return MiddlewareIterator(e._handout, e._middleware, e._event, _same, self._options)
        return ListIterator(e._handout, e._event, self._options)

    def records(self) -> AsyncIterator[list[R_co]]:
        """The records of each list."""
        e = self._events
        if e._middleware:
            return MiddlewareIterator(
                e._handout, e._middleware, e._event, _records_of, self._options
            )
        return ListIterator(e._handout, e._record, self._options)


def _same(item: T) -> T:
    return item


def _record_of(event: Any) -> Any:
    return event.record


def _records_of(events: Any) -> list[Any]:
    return [event.record for event in events]


__all__ = ["Batches", "Event", "Events"]
