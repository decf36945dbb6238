"""Workers on a cluster of three masters: order, moving slots, a master lost under load."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from runnel import App, Events, Record, Stream
from runnel.connection.connect import connect
from runnel.embedded.binary import Binary
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from runnel.protocol.ids import reached
from runnel.worker import backend
from runnel.worker.worker import Worker
from tests.deployments.steps import slot
from tests.fleet import ClusterFleet
from tests.nodes import catches_up
from tests.worker.workers import first_times, until

KEYS = 30


class Item(Record):
    key: int
    number: int


class Shop:
    """An app with partitions on every master, and what its handlers have seen for each key."""

    def __init__(self, name: str, url: str) -> None:
        self.url = url
        self.app = App(
            name,
            redis_url=url,
            session_timeout=2.0,
            rebalance_delay=0.1,
            backoff=0.01,
            shutdown_timeout=5.0,
        )
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="key", partition_count=12
        )
        self.seen: dict[int, list[int]] = defaultdict(list)
        self.owned: dict[str, int] = {}

        @self.app.processor(self.items, name="work")
        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                self.seen[item.key].append(item.number)
                await asyncio.sleep(0.001)

    async def send(self, numbers: range) -> None:
        """A round of all keys for each number."""
        for number in numbers:
            await self.items.send(*(Item(key=key, number=number) for key in range(KEYS)), wait=True)

    def complete(self, count: int) -> bool:
        """Has every key seen all numbers, each at least once?"""
        return all(len(set(self.seen[key])) == count for key in range(KEYS))

    def in_order(self, count: int) -> bool:
        """Did every key see its numbers in order, repeats after a takeover left out?"""
        return all(first_times(self.seen[key]) == list(range(count)) for key in range(KEYS))

    async def report(self) -> dict[str, Any]:
        """What `runnel inspect` shows of the processor."""
        async with connect(self.url) as client:
            found = await inspect(client, await check_server(client, self.url), self.app.name)
        row: dict[str, Any] = next(iter(found["processors"]), {"partitions": []})
        return row

    async def shared_by(self, members: int) -> bool:
        """Do so many members hold all partitions, as evenly as can be?"""
        owners: dict[str, int] = defaultdict(int)
        for row in (await self.report())["partitions"]:
            owners[row["owner"] or ""] += 1
        return sorted(owners.values()) == [12 // members] * members and "" not in owners

    async def caught_up(self) -> bool:
        """Is everything committed?"""
        rows = (await self.report())["partitions"]
        return all(reached(row["checkpoint"], row["last"]) for row in rows)

    @asynccontextmanager
    async def workers(self, count: int) -> AsyncIterator[list[Worker]]:
        """Workers in this process, stopped in the end."""
        workers = [Worker(self.app) for _ in range(count)]
        runs = [asyncio.create_task(worker.run()) for worker in workers]
        try:
            await until(lambda: self.shared_by(count), "the workers share the partitions")
            yield workers
        finally:
            for worker in workers:
                worker.stop.set()
            await asyncio.gather(*runs)

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[None]:
        """A third worker for a while."""
        worker = Worker(self.app)
        run = asyncio.create_task(worker.run())
        try:
            await until(lambda: self.shared_by(3), "three workers share the partitions")
            yield
        finally:
            worker.stop.set()
            await run
        await until(lambda: self.shared_by(2), "two workers share the partitions again")


@pytest.fixture(params=[256, 2, 0], ids=lambda own: f"{own} connections")
def _own_connections(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many partitions have a connection of their own; the others are asked in turn."""
    monkeypatch.setattr(backend, "OWN_CONNECTIONS", request.param)


@pytest.mark.usefixtures("_own_connections")
async def test_workers_share_a_cluster_and_hand_over_in_order(
    fleet: ClusterFleet, app_name: str
) -> None:
    shop = Shop(app_name, fleet.url)
    partition_keys = [shop.app.processors["work"].keys(p) for p in range(12)]
    assert {slot(each) * 3 // 16384 for each in partition_keys} == {0, 1, 2}, "on every master"
    async with shop.workers(2):
        await shop.send(range(5))
        async with shop.joined():
            await shop.send(range(5, 10))
        await shop.send(range(10, 15))
        await until(lambda: shop.complete(15), "all arrive")
    assert all(shop.seen[key] == list(range(15)) for key in range(KEYS)), "none comes twice"
    assert await shop.caught_up()


@pytest.mark.fault(38)
@pytest.mark.usefixtures("_own_connections")
async def test_a_slot_that_moves_under_load_takes_its_partition_along(
    fleet: ClusterFleet, app_name: str
) -> None:
    shop = Shop(app_name, fleet.url)
    async with shop.workers(2):
        sending = asyncio.create_task(shop.send(range(30)))
        moving = slot(shop.app.processors["work"].keys(0))
        home = fleet.owner(moving)
        for target in (next(each for each in fleet.masters if each is not home), home):
            await asyncio.to_thread(fleet.migrate, moving, target)
        await sending
        await until(lambda: shop.complete(30), "all arrive")
        await until(shop.caught_up, "all is committed")
    assert shop.in_order(30)


@pytest.mark.fault(39)
async def test_a_master_lost_under_load_stops_only_its_partitions_until_its_replica_takes_over(
    binary: Binary, app_name: str
) -> None:
    with ClusterFleet(binary) as fleet:
        shop = Shop(app_name, fleet.url)
        async with shop.workers(2):
            await shop.send(range(5))
            await until(lambda: shop.complete(5), "the first arrive")
            await until(shop.caught_up, "all is committed")
            await asyncio.to_thread(catches_up, fleet.replicas[0], fleet.masters[0])
            fleet.masters[0].kill()
            await shop.send(range(5, 10))
            await until(lambda: shop.complete(10), "all arrive")
            await until(shop.caught_up, "all is committed")
        assert shop.in_order(10)
