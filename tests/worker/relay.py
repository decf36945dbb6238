"""A processor that emits each event to another stream, by another key, through its outbox."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events, Record, Stream, keys
from runnel.worker.backend import RedisBackend
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger
from tests.worker.workers import until

#: Keys of the records that are emitted.
KEYS = 5


class Copy(Record):
    key: int
    number: int


def use_outbox(monkeypatch: pytest.MonkeyPatch, backend: type[RedisBackend] = RedisBackend) -> None:
    """Emit as in a Redis Cluster, with this backend."""

    class OneSlot(backend):  # type: ignore[misc, valid-type]
        one_slot = True

    monkeypatch.setattr("runnel.worker.worker.RedisBackend", OneSlot)


class Relay(Ledger):
    """A ledger whose processor copies its items to a stream with several partitions."""

    def __init__(self, name: str, url: str, *, size: int = 10_000, **settings: Any) -> None:
        super().__init__(name, url, partition_size=10_000, **settings)
        self.copies: Stream[Copy] = self.app.stream(
            "copies", record=Copy, partition_by="key", partition_count=3, partition_size=size
        )
        self.outbox = self.partition_keys.outbox

        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                self.seen.append(item.number)
                events.emit(self.copies, Copy(key=item.number % KEYS, number=item.number))

        self.processor(work)

    def log_of(self, partition: int) -> str:
        """A partition of the copies."""
        return keys.log(self.copies.spec.prefix(partition))

    def partition_of(self, number: int) -> int:
        """The partition of the copy of an item."""
        return self.copies.spec.partition(Copy(key=number % KEYS, number=number))

    def numbers_in(self, partition: int, count: int) -> list[int]:
        """The first numbers whose copies go to a partition."""
        found = (n for n in range(10_000) if self.partition_of(n) == partition)
        return [next(found) for _ in range(count)]

    async def copied(self, redis: Redis) -> dict[int, list[int]]:
        """Key -> numbers of the copies, in the order of the log."""
        found: dict[int, list[int]] = defaultdict(list)
        for partition in range(3):
            entries: Any = await redis.xrange(self.log_of(partition))
            for _, fields in entries:
                flat = [each for pair in fields.items() for each in pair]
                copy = self.copies.spec.codec.decode(flat)
                found[copy.key].append(copy.number)
        return found

    async def until_copied(self, redis: Redis, *numbers: int) -> None:
        """Wait until so many copies have arrived, and the outbox is empty. Then each item was
        copied once, and those of each key are in order."""

        async def arrived() -> bool:
            found = sum(map(len, (await self.copied(redis)).values()))
            return found >= len(numbers) and await redis.xlen(self.outbox) == 0

        await until(arrived, "all are copied")
        await self.check(redis, *numbers)

    async def check(self, redis: Redis, *numbers: int) -> None:
        """Each of these was copied once, and those of each key are in order."""
        expected: dict[int, list[int]] = defaultdict(list)
        for number in numbers:
            expected[number % KEYS].append(number)
        assert await self.copied(redis) == expected

    async def counts(self, redis: Redis) -> list[int]:
        """Entries of the outbox: written, done, lost."""
        fields = ["outbox_last", "outbox_done", "outbox_lost"]
        return [int(each or 0) for each in await redis.hmget(self.state, fields)]

    @asynccontextmanager
    async def one_run(self, redis: Redis, *numbers: int) -> AsyncIterator[Worker]:
        """A worker that gets these items."""
        await self.send(*numbers)
        async with self.running() as worker:
            yield worker
