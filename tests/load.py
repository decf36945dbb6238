"""Load on a deployment that loses a primary: workers, producers, and what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.crc import key_slot

from runnel import App, Events, Record, Stream, keys
from runnel.connection.connect import connect
from runnel.errors import ServerUnreachable
from runnel.worker.worker import Worker
from tests.worker.workers import first_times, until

KEYS = range(12)
#: The key of events that a test sends to an isolated primary. They are not checked: a worker may
#: see them before it learns of the new primary.
STRAY = -1
#: Seconds in which a lost primary is replaced and the new one gets a replica.
FAILOVER_TIMEOUT = 90.0
#: Seconds in which workers process everything that was sent.
PROCESSING_TIMEOUT = 60.0


class Item(Record):
    key: int
    number: int


class Load:
    """An app whose sends and commits count once a replica has them.

    For each key a producer sends 0, 1, 2 … one after the other and records what is acknowledged;
    two workers record what they see.
    """

    def __init__(self, name: str, url: str) -> None:
        self.url = url
        self.app = App(
            name,
            redis_url=url,
            durability="replica",
            delivery_timeout=FAILOVER_TIMEOUT,
            session_timeout=2.0,
            rebalance_delay=0.1,
            shutdown_timeout=5.0,
        )
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="key", partition_count=6
        )
        self.acknowledged: dict[int, list[int]] = {key: [] for key in KEYS}
        self.seen: dict[int, list[int]] = defaultdict(list)
        self._stop_sending = asyncio.Event()
        self._workers: list[Worker] = []

        @self.app.processor(self.items, name="work")
        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                self.seen[item.key].append(item.number)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run workers and producers. At the end, assert that the log has exactly the acknowledged
        events, once and in order; and that the workers see all of them in order, apart from
        repeats after a take-over."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(self._work())
            producers = [tasks.create_task(self._produce(key)) for key in KEYS]
            yield
            self._stop_sending.set()
            await asyncio.wait(producers)
            assert await self._in_the_log() == self.acknowledged, (
                "the log differs from what was acknowledged"
            )
            await until(self._all_seen, "the workers see all", PROCESSING_TIMEOUT)
            for worker in self._workers:
                worker.stop.set()
        await self.app.close()
        seen = {key: first_times(each) for key, each in self.seen.items() if key != STRAY}
        assert seen == self.acknowledged, "the workers did not see the events in order"

    async def _work(self) -> None:
        """Run a worker. Start it again, as a supervisor does, if the servers are too slow for its
        first calls: those of a group that has just formed, on a busy machine."""
        for left in reversed(range(10)):
            worker = Worker(self.app)
            self._workers.append(worker)
            try:
                return await worker.run()
            except ServerUnreachable:
                if not left:
                    raise

    async def _produce(self, key: int) -> None:
        for number in itertools.count():
            await self.items.send(Item(key=key, number=number))
            self.acknowledged[key].append(number)
            if self._stop_sending.is_set():
                return

    def _all_seen(self) -> bool:
        return all(set(self.seen[key]) == set(self.acknowledged[key]) for key in KEYS)

    async def _in_the_log(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        spec = self.items.spec
        async with connect(self.url) as client:
            for partition in range(spec.partition_count):
                entries: Any = await client.xrange(keys.log(spec.prefix(partition)))
                for _, fields in entries:
                    item = spec.codec.decode([*itertools.chain(*fields.items())])
                    found[item.key].append(item.number)
        return found

    def slot(self, key: int) -> int:
        """The slot of the partition that has a key, in a cluster."""
        partition = self.items.spec.partition(Item(key=key, number=0))
        return key_slot(keys.log(self.items.spec.prefix(partition)).encode())

    async def goes_on(self, *only: int) -> None:
        """Wait until new events of these keys, or of all, are acknowledged."""
        before = {key: len(self.acknowledged[key]) for key in only or KEYS}
        await until(
            lambda: all(len(self.acknowledged[key]) > count + 5 for key, count in before.items()),
            "events are acknowledged",
            FAILOVER_TIMEOUT,
        )
