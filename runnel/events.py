"""What a handler iterates over: the events of one held partition, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from runnel.core.lane import Lane, Raw
from runnel.entry import EntryCodec
from runnel.errors import RunnelError
from runnel.session import Session
from runnel.turn import Turn

R = TypeVar("R")


class WorkerDied(RunnelError):
    """Workers died while they processed this event, more often than its retries allow."""


class Event(Generic[R]):
    """One event. The record is decoded when it is first asked for."""

    __slots__ = ("_codec", "_raw", "_record", "partition")

    def __init__(self, raw: Raw, partition: int, codec: EntryCodec[R]) -> None:
        self.partition = partition
        self._raw = raw
        self._codec = codec
        self._record: R | None = None

    @property
    def id(self) -> str:
        """Its id in the partition, which rises from event to event."""
        text: str = self._raw[0].decode()
        return text

    @property
    def fields(self) -> Sequence[bytes]:
        """The fields and values of the entry in turn, as they were sent."""
        fields: Sequence[bytes] = self._raw[1]
        return fields

    @property
    def record(self) -> R:
        """The record. Raises DecodeError if the entry is none of the stream's records."""
        if self._record is None:
            self._record = self._codec.decode(self._raw[1])
        return self._record

    @property
    def headers(self) -> dict[str, str]:
        """The headers it was sent with."""
        return self._codec.headers(self._raw[1])

    def __repr__(self) -> str:
        return f"Event({self.partition}/{self.id})"


class Lease:
    """Hands out the events of a lane, and waits where the lane, which is pure, must not.

    `session` says whether the worker is certain to be a member: nothing is handed out while it is
    not.
    `turn` is held while an event whose start was recorded is processed.
    `mark` is told of a lane that has something to commit, `poke` of one that has room for more.
    `record_start` notes in Redis which event is about to be processed.
    """

    def __init__(
        self,
        lane: Lane,
        *,
        commit_each: bool,
        prefetch: int,
        retries: int,
        session: Session,
        turn: Turn,
        mark: Callable[[Lane], None],
        poke: Callable[[Lane], None],
        record_start: Callable[[Lane, str], Awaitable[None]],
    ) -> None:
        self.lane = lane
        self.partition = lane.partition
        self.changed = asyncio.Event()
        self._commit_each = commit_each
        self._prefetch = prefetch
        self._refill_at = prefetch  # Where the lane begins to want more.
        self._retries = retries
        self._session = session
        self._turn = turn
        self._mark = mark
        self._poke = poke
        self._record_start = record_start

    def next(self) -> Raw | None:
        """The next event if it can be given at once; the one before is finished."""
        lane = self.lane
        if self._commit_each or lane.careful:
            return None
        if lane.in_hand:
            lane.finish()
            if not lane.marked:
                self._mark(lane)
        buffer = lane.buffer
        if not buffer or not lane.open or not self._session.alive():
            return None
        raw = buffer.popleft()
        lane.in_hand = (raw,)
        if len(buffer) == self._refill_at:
            self._poke(lane)
        return raw

    async def take(self, limit: int, within: float | None = None) -> Sequence[Raw]:
        """Up to `limit` events; those given before are finished. Empty once no more will be given.

        `within` waits that many seconds for the list to fill up. Raises WorkerDied.
        """
        lane = self.lane
        if lane.finish():
            self._mark(lane)
            if self._commit_each or lane.recorded:
                await self.flush()
        self.give_turn()
        while lane.open and not (lane.buffer and self._session.alive()):
            await self._wait_for_event()
        if within is not None and len(lane.buffer) < limit:
            await self._wait_for(limit, within)
        while lane.recorded and lane.open and not self._turn.take(self, self.changed):
            self.changed.clear()
            await self.changed.wait()
        await self._until_certain()
        if not lane.open:
            self.give_turn()
            return ()
        raws = lane.hand_out(limit)
        if lane.wants(self._prefetch):
            self._poke(lane)
        if lane.attempts > self._retries and raws[0][0] == lane.event:
            raise WorkerDied(
                f"event {lane.event.decode()} failed or killed its worker {lane.attempts} times"
            )
        if lane.recorded:
            await self._record_start(lane, raws[0][0].decode())
            await self._until_certain()
            if not lane.open:
                lane.rewind()
                self.give_turn()
                return ()
        return raws

    async def commit(self) -> None:
        """Finish what was given out and wait until that is committed."""
        if self.lane.finish():
            self._mark(self.lane)
            await self.flush()
        self.give_turn()

    def give_turn(self) -> None:
        """Let another partition of this worker process an event whose start is recorded."""
        self._turn.give(self)

    async def flush(self) -> None:
        """Wait until nothing that was read is in doubt and all that is finished is committed, or
        the token is spent."""
        if self.lane.doubt is not None:
            self._mark(self.lane)
        while not ((self.lane.clean and self.lane.doubt is None) or self.lane.over):
            self.changed.clear()
            await self.changed.wait()

    async def rest(self) -> None:
        """Wait until all that was read is finished and committed, or no more is handed out."""
        while self.lane.open and not self.lane.at_rest:
            self.changed.clear()
            await self.changed.wait()

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until the partition is wanted elsewhere."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.lane.open and (left := deadline - asyncio.get_running_loop().time()) > 0:
            self.changed.clear()
            try:
                async with asyncio.timeout(left):
                    await self.changed.wait()
            except TimeoutError:
                return

    async def _wait_for_event(self) -> None:
        if self.lane.buffer:
            await self._session.renewed()
        else:
            self._poke(self.lane)
            self.changed.clear()
            await self.changed.wait()

    async def _until_certain(self) -> None:
        """Wait, as long as anything may be handed out, until the session is certain to last."""
        while self.lane.open and not self._session.alive():
            await self._session.renewed()

    async def _wait_for(self, limit: int, within: float) -> None:
        try:
            async with asyncio.timeout(within):
                while self.lane.open and len(self.lane.buffer) < limit:
                    self._poke(self.lane)
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            pass


class Events(Generic[R]):
    """The events of one partition. Each is finished when the next one is asked for.

    Iterate over it for `Event` objects, over `records` for records alone, over `take` for lists.
    """

    def __init__(self, lease: Lease, codec: EntryCodec[R], middleware: Sequence[Any] = ()) -> None:
        self._lease = lease
        self._codec = codec
        self._middleware = middleware
        self._chain: list[AsyncIterator[Any]] = []

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self._lease.partition

    def __aiter__(self) -> AsyncIterator[Event[R]]:
        return self._wrapped(self._single())

    async def records(self) -> AsyncIterator[R]:
        """The records of the events, one at a time."""
        if self._middleware:
            async for event in self:
                yield event.record
            return
        next_, take, decode = self._lease.next, self._lease.take, self._codec.decode
        while True:
            raw = next_()
            if raw is None:
                raws = await take(1)
                if not raws:
                    return
                raw = raws[0]
            yield decode(raw[1])

    def take(self, n: int, within: float | None = None) -> Batches[R]:
        """Lists of up to `n` events.

        A list is given out as soon as there is anything, or with `within`, once it is full or that
        many seconds have passed since its first event.
        """
        if n < 1:
            raise ValueError("take(n): n must be at least 1")
        return Batches(self, n, within)

    async def commit(self) -> None:
        """Finish all events given out, the one in hand included, and wait for the commit."""
        await self._lease.commit()

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
        lease, codec, partition = self._lease, self._codec, self._lease.partition
        while True:
            raw = lease.next()
            if raw is None:
                raws = await lease.take(1)
                if not raws:
                    return
                raw = raws[0]
            yield Event(raw, partition, codec)

    async def _batches(self, n: int, within: float | None) -> AsyncIterator[list[Event[R]]]:
        lease, codec, partition = self._lease, self._codec, self._lease.partition
        while raws := await lease.take(n, within):
            yield [Event(raw, partition, codec) for raw in raws]

    async def _record_batches(self, n: int, within: float | None) -> AsyncIterator[list[R]]:
        if self._middleware:
            async for events in self._wrapped(self._batches(n, within)):
                yield [event.record for event in events]
            return
        take, decode = self._lease.take, self._codec.decode
        while raws := await take(n, within):
            yield [decode(raw[1]) for raw in raws]


class Batches(Generic[R]):
    """Lists of events, or with `records` lists of records. Made by `Events.take`."""

    def __init__(self, events: Events[R], n: int, within: float | None) -> None:
        self._events = events
        self._n = n
        self._within = within

    def __aiter__(self) -> AsyncIterator[list[Event[R]]]:
        return self._events._wrapped(self._events._batches(self._n, self._within))

    def records(self) -> AsyncIterator[list[R]]:
        """The records of each list."""
        return self._events._record_batches(self._n, self._within)
