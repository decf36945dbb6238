"""What workers and producers of a test have in place of connections to Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from redis.exceptions import ConnectionError

from runnel.connection.deployment import Command, Deployment, Sources
from runnel.connection.durability import AckRequirement
from runnel.connection.redis_client import Arg
from runnel.core.read_limits import MemoryBudget
from runnel.core.reading import Raw
from runnel.delivery.deadlines import Deadlines
from runnel.processor import Processor
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Call, Scripts
from runnel.testing.store import Store
from runnel.testing.virtual_time import VirtualDeadlines, VirtualTime
from runnel.worker.feeds import Found, LogCursor, ReadBatch

#: Bytes of events that may wait in memory.
MEMORY = 64_000_000


class MemoryBackend:
    """All that one worker of a test needs of Redis: see `runnel.worker.backend.Backend`.

    Nothing is read while `open` is not set. With `holds_commits`, no commit is answered; once it is
    `dead`, no call is: so the worker is lost with all that it had not committed.
    """

    one_slot = False

    def __init__(self, store: Store, time_: VirtualTime) -> None:
        self.memory = MemoryBudget(MEMORY)
        self.clock = time.monotonic
        self.open = False
        self.holds_commits = False
        self.dead = False
        self._store = store
        self._time = time_
        self._feeds: list[MemoryFeed] = []

    def deadlines(self, who: Hashable) -> Deadlines:
        return VirtualDeadlines(self._time, who)

    def wake(self) -> None:
        """There may be something to read."""
        for each in self._feeds:
            each.wake()

    async def call(self, call: Call) -> Any:
        await asyncio.sleep(0)
        if self.dead:
            raise ConnectionError("this worker is dead")
        return self._store.run(call)

    async def call_batched(self, call: Call) -> Any:
        return await self.call(call)

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        await asyncio.sleep(0)
        if self.dead:
            return [ConnectionError("this worker is dead")] * len(calls)
        return _outcomes(self._store, calls)

    async def commit(self, calls: Sequence[Call]) -> list[Any]:
        if self.holds_commits and not self.dead and any(map(_moves, calls)):
            await asyncio.Event().wait()
        return await self.call_all(calls)

    async def forward(self, call: Call) -> Any:
        return await self.call(call)

    async def verify_cursors(self, cursors: Sequence[LogCursor]) -> list[Any]:
        return [self._store.logs[log].has(cursor) for log, cursor in cursors]

    async def read_fields(self, wanted: Sequence[tuple[str, Sequence[bytes]]]) -> list[Any]:
        return [self._store.query("HMGET", key, *fields) for key, fields in wanted]

    async def query(self, key: str, *command: Arg) -> Any:
        return self._store.query(*command)

    async def outcomes(self, commands: Sequence[Command]) -> list[Any]:
        return [self._store.query(*words) for _, words in commands]

    async def read_outbox(self, names: PartitionKeys, after: str, count: int) -> list[Any]:
        raise NotImplementedError("the store of a test has no outbox: it has no slots")

    async def read_entries(self, names: PartitionKeys, ids: Sequence[str]) -> list[Any]:
        raise NotImplementedError("the store of a test has no outbox: it has no slots")

    async def announce(self, processor: Processor) -> None:
        """There is no registry."""

    def node_of(self, log: str) -> Hashable:
        return None

    def feed_of(self, log: str, partition: int) -> str:
        return "all"

    def feed(self, name: str) -> MemoryFeed:
        feed = MemoryFeed(self, self._store, self._feeds.remove)
        self._feeds.append(feed)
        return feed

    async def listen(
        self,
        channel: str,
        hint: Callable[[], None],
        others: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        await asyncio.Event().wait()

    def beat(self, call: Call) -> Any:
        raise NotImplementedError("a worker of a test sends no heartbeats")


def _moves(call: Call) -> bool:
    """Does a call move a checkpoint, rather than report a failure?"""
    return call.script in ("commit", "transact")


class MemoryFeed:
    """Reads the logs of the store: see `runnel.worker.feeds.Feed`."""

    def __init__(
        self, backend: MemoryBackend, store: Store, closed: Callable[[MemoryFeed], None]
    ) -> None:
        self._backend = backend
        self._store = store
        self._closed = closed
        self._changed = asyncio.Event()
        self._cut = False

    def wake(self) -> None:
        """There may be something to read."""
        self._changed.set()

    async def read(
        self,
        batches: Sequence[ReadBatch],
        verify: Sequence[LogCursor],
        wait: bool,
        max_bytes: int | None,
    ) -> Found | None:
        await asyncio.sleep(0)
        while True:
            self._changed.clear()
            found = self._read(batches) if self._backend.open else {}
            if found or not wait:
                return found, [self._store.logs[log].has(cursor) for log, cursor in verify]
            if self._cut:
                self._cut = False
                return None
            await self._changed.wait()

    def _read(self, batches: Sequence[ReadBatch]) -> dict[str, Sequence[Raw]]:
        return {
            log: entries
            for limit, cursors in batches
            for log, cursor in cursors
            if (entries := self._store.read(log, cursor, limit))
        }

    async def cut_short(self) -> None:
        self._cut = True
        self._changed.set()

    async def close(self) -> None:
        self._closed(self)


class _Client:
    """Where the producer of a test has a client: there is nothing to close."""

    async def __aenter__(self) -> _Client:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def abandon(self) -> None: ...


class MemoryDeployment(Deployment):
    """The store as the only server."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def primaries(self) -> list[Any]:
        return []

    async def wait_for_orphans(self) -> None: ...

    async def send(
        self,
        commands: Sequence[Command],
        sources: Sources | None = None,
        ack: AckRequirement | None = None,
    ) -> list[Any]:
        return [self._store.query(*words) for _, words in commands]


class MemoryScripts(Scripts):
    """Carries out the calls of producers in the store."""

    def __init__(self, store: Store) -> None:
        self.deployment = MemoryDeployment(store)
        self.client: Any = _Client()
        self.roundtrip = None
        self._store = store

    async def call(self, call: Call, ack: AckRequirement | None = None) -> Any:
        await asyncio.sleep(0)
        return self._store.run(call)

    async def call_all(self, calls: Sequence[Call], ack: AckRequirement | None = None) -> list[Any]:
        await asyncio.sleep(0)
        return _outcomes(self._store, calls)


def _outcomes(store: Store, calls: Sequence[Call]) -> list[Any]:
    """For each call, its reply or what refuses it."""
    outcomes: list[Any] = []
    for each in calls:
        try:
            outcomes.append(store.run(each))
        except Exception as error:
            outcomes.append(error)
    return outcomes
