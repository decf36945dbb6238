"""Load on a deployment while it loses a primary: workers, producers, and what these were told."""

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
from runnel.worker.worker import Worker
from tests.worker.workers import first_times, until

KEYS = range(12)
#: The key of what a test sends to a primary that was cut off. A worker may see it, before it hears
#: that there is another primary; nothing that was sent there counts.
STRAY = -1
#: Seconds for a primary that is lost to be replaced, and to get a replica again.
PATIENCE = 45.0
#: Seconds for workers to do what was sent.
SOON = 20.0


class Item(Record):
    key: int
    number: int


class Load:
    """An app whose sends and commits count once a replica has them.

    For each key a producer sends 0, 1, 2 … one after the other and notes what is acknowledged; two
    workers note what they see.
    """

    def __init__(self, name: str, url: str) -> None:
        self.url = url
        self.app = App(
            name,
            redis_url=url,
            durability="replica",
            delivery_timeout=PATIENCE,
            session_timeout=2.0,
            rebalance_delay=0.1,
            shutdown_timeout=5.0,
        )
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="key", partition_count=6
        )
        self.acknowledged: dict[int, list[int]] = {key: [] for key in KEYS}
        self.seen: dict[int, list[int]] = defaultdict(list)
        self._enough = asyncio.Event()

        @self.app.processor(self.items, name="work")
        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                self.seen[item.key].append(item.number)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Workers and producers at work. In the end it is asserted that what was acknowledged is
        there, once and in order, and nothing else; and that the workers see all of it in order,
        repeats after a take-over left out."""
        workers = [Worker(self.app) for _ in range(2)]
        async with asyncio.TaskGroup() as tasks:
            for worker in workers:
                tasks.create_task(worker.run())
            producers = [tasks.create_task(self._produce(key)) for key in KEYS]
            yield
            self._enough.set()
            await asyncio.wait(producers)
            assert await self._logged() == self.acknowledged, "the log differs from what was told"
            await until(self._all_seen, "the workers see all", SOON)
            for worker in workers:
                worker.stop.set()
        await self.app.close()
        seen = {key: first_times(each) for key, each in self.seen.items() if key != STRAY}
        assert seen == self.acknowledged, "not in order"

    async def _produce(self, key: int) -> None:
        for number in itertools.count():
            await self.items.send(Item(key=key, number=number))
            self.acknowledged[key].append(number)
            if self._enough.is_set():
                return

    def _all_seen(self) -> bool:
        return all(set(self.seen[key]) == set(self.acknowledged[key]) for key in KEYS)

    async def _logged(self) -> dict[int, list[int]]:
        logged: dict[int, list[int]] = defaultdict(list)
        spec = self.items.spec
        async with connect(self.url) as client:
            for partition in range(spec.partition_count):
                entries: Any = await client.xrange(keys.log(spec.prefix(partition)))
                for _, fields in entries:
                    item = spec.codec.decode([*itertools.chain(*fields.items())])
                    logged[item.key].append(item.number)
        return logged

    def slot(self, key: int) -> int:
        """The slot of the partition that has a key, in a cluster."""
        partition = self.items.spec.partition(Item(key=key, number=0))
        return key_slot(keys.log(self.items.spec.prefix(partition)).encode())

    async def goes_on(self, *only: int) -> None:
        """Wait until these keys, or all, have had events acknowledged from now on."""
        before = {key: len(self.acknowledged[key]) for key in only or KEYS}
        await until(
            lambda: all(len(self.acknowledged[key]) > count + 5 for key, count in before.items()),
            "events are acknowledged",
            PATIENCE,
        )
