"""What a handler iterates over: the events of one partition, in order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Generic, Protocol, TypeVar

from runnel.core.lane import Raw
from runnel.entry import EntryCodec

R = TypeVar("R")


class Event(Generic[R]):
    """One event. The record is decoded when it is first asked for."""

    __slots__ = ("_codec", "_record", "fields", "id", "partition")

    def __init__(self, raw: Raw, partition: int, codec: EntryCodec[R]) -> None:
        self.id = raw[0]
        self.fields = raw[1]
        self.partition = partition
        self._codec = codec
        self._record: R | None = None

    @property
    def record(self) -> R:
        """The record. Raises DecodeError if the entry is none of the stream's records."""
        if self._record is None:
            self._record = self._codec.decode(self.fields)
        return self._record

    @property
    def headers(self) -> dict[str, str]:
        """The headers it was sent with."""
        return self._codec.headers(self.fields)

    def __repr__(self) -> str:
        return f"Event({self.partition}/{self.id})"


class Source(Protocol):
    """Where events come from: a held partition."""

    partition: int

    async def take(self, limit: int, within: float | None) -> list[Raw]:
        """The next events; those given before are finished. Empty at the end."""
        ...

    async def commit(self) -> None:
        """Finish what was given and wait until that is committed."""
        ...


class Events(Generic[R]):
    """The events of one partition. Each is finished when the next one is asked for.

    Iterate over it for `Event` objects, over `records` for records alone, over `take` for lists.
    """

    def __init__(self, source: Source, codec: EntryCodec[R], middleware: Any = ()) -> None:
        self._source = source
        self._codec = codec
        self._middleware = middleware
        self._chain: list[AsyncIterator[Any]] = []

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self._source.partition

    def __aiter__(self) -> AsyncIterator[Event[R]]:
        return self._wrapped(self._single())

    async def records(self) -> AsyncIterator[R]:
        """The records of the events, one at a time."""
        async for event in self:
            yield event.record

    def take(self, n: int, within: float | None = None) -> Batches[R]:
        """Lists of up to `n` events.

        A list is given out as soon as there is anything, or with `within`, once it is full or that
        many seconds have passed since its first event.
        """
        if n < 1:
            raise ValueError("take(n): n must be at least 1")
        return Batches(self._wrapped(self._batches(n, within)))

    async def commit(self) -> None:
        """Finish all events given out, the one in hand included, and wait for the commit."""
        await self._source.commit()

    async def failed(self, error: BaseException) -> None:
        """Raise `error` at the ``yield`` of each middleware, the innermost last."""
        for generator in reversed(self._chain):
            athrow = getattr(generator, "athrow", None)
            if athrow is not None:
                try:
                    await athrow(error)
                except (StopAsyncIteration, RuntimeError):
                    continue
                except BaseException as raised:
                    if raised is not error:
                        raise

    def _wrapped(self, source: AsyncIterator[Any]) -> AsyncIterator[Any]:
        self._chain = []
        for middleware in self._middleware:
            source = middleware.handler(source)
            self._chain.append(source)
        return source

    async def _single(self) -> AsyncIterator[Event[R]]:
        source, codec, partition = self._source, self._codec, self._source.partition
        while raws := await source.take(1, None):
            yield Event(raws[0], partition, codec)

    async def _batches(self, n: int, within: float | None) -> AsyncIterator[list[Event[R]]]:
        source, codec, partition = self._source, self._codec, self._source.partition
        while raws := await source.take(n, within):
            yield [Event(raw, partition, codec) for raw in raws]


class Batches(Generic[R]):
    """Lists of events, or with `records` lists of records."""

    def __init__(self, source: AsyncIterator[list[Event[R]]]) -> None:
        self._source = source

    def __aiter__(self) -> AsyncIterator[list[Event[R]]]:
        return self._source

    async def records(self) -> AsyncIterator[list[R]]:
        """The records of each list."""
        async for events in self._source:
            yield [event.record for event in events]
