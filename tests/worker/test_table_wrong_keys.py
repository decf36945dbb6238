"""A key of a table that has another type stops its own partition, and is named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Events, keys
from runnel.table import Table
from runnel.worker.worker import Worker
from tests.worker.inside import Item
from tests.worker.workers import until

NUMBERS = [*range(40)]


class Shop:
    """An app with four partitions, which counts events in a table."""

    def __init__(self, name: str, url: str, policy: str) -> None:
        self.app = App(
            name, redis_url=url, session_timeout=1.0, rebalance_delay=0.05, backoff=0.01, retries=0
        )
        self.items = self.app.stream("items", record=Item, partition_by="number", partition_count=4)
        self.visits: Table[int] = self.app.table(
            "visits", self.items, value=int, default=0, expire=3600
        )
        self.also_load = False

        @self.app.processor(self.items, exception_policy=policy)
        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                if self.also_load:
                    await self.visits.load(f"of {item.number}")
                self.visits[item.number] += 1

    @property
    def partition(self) -> int:
        """The partition that breaks."""
        return self.items.spec.partition(Item(number=1))

    def here(self, *numbers: int) -> list[int]:
        return [n for n in numbers if self.items.spec.partition(Item(number=n)) == self.partition]

    async def send(self, numbers: list[int]) -> None:
        await self.items.send(*(Item(number=number) for number in numbers))

    async def counted(self, numbers: list[int], times: int) -> bool:
        """Have these been counted so often, those of the broken partition aside?"""
        own = self.here(*numbers)
        others = [each for each in numbers if each not in own]
        found = await self.visits.read_many(others)
        return all(found[each] == times for each in others)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        worker = Worker(self.app)
        run = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop.set()
            await run


@pytest.fixture(params=["ignore", "quarantine", "halt"])
async def shop(
    redis: Redis, redis_url: str, app_name: str, request: pytest.FixtureRequest
) -> AsyncIterator[Shop]:
    made = Shop(app_name, redis_url, request.param)
    async with made.app:
        yield made


@pytest.mark.fault(33)
@pytest.mark.parametrize("what", ["table", "expiry"])
@pytest.mark.parametrize("known", [False, True])
async def test_others_go_on_and_it_comes_back_when_the_key_is_gone(
    redis: Redis, shop: Shop, caplog: pytest.LogCaptureFixture, what: str, known: bool
) -> None:
    """Without `known` a read finds it, else a commit."""
    prefix = shop.items.spec.prefix(shop.partition)
    broken = (keys.table if what == "table" else keys.expiry)(prefix, "visits")
    async with shop.running():
        if known:
            await shop.send(NUMBERS)
            await until(lambda: shop.counted(NUMBERS, 1), "it runs")
            await until(lambda: _reads(shop, dict.fromkeys(shop.here(*NUMBERS), 1)), "everywhere")
        await redis.delete(broken)
        await redis.set(broken, "junk")
        await shop.send(NUMBERS)
        await until(lambda: shop.counted(NUMBERS, 1 + known), "the others go on")
        await until(lambda: "another program has written" in caplog.text, "it is told")
        said = [each for each in caplog.messages if "another program has written" in each]
        assert said == [said[0]]
        assert f"processor work, partition {shop.partition}: another program has" in said[0]
        assert f"the key {broken}, so its table" in said[0]
        await shop.send(NUMBERS)
        await until(lambda: shop.counted(NUMBERS, 2 + known), "the others still go on")
        await redis.delete(broken)
        # What the table had is gone with it; what has come since counts once.
        times = 2 + known if what == "expiry" else 2
        await until(
            lambda: _reads(shop, dict.fromkeys(shop.here(*NUMBERS), times)), "it comes back"
        )
    assert "skipped" not in caplog.text


async def _reads(shop: Shop, expected: dict[Any, int]) -> bool:
    return await shop.visits.read_many(expected) == expected


async def test_a_handler_that_loads_from_it_does_not_give_up_its_event(
    redis: Redis, shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It breaks between the read of the event and what the handler loads."""
    name = keys.table(shop.items.spec.prefix(shop.partition), "visits")
    shop.also_load, load, broken = True, Table.load, False

    async def breaking(table: Table[Any], key: Any) -> None:
        nonlocal broken
        if key == "of 1" and not broken:
            broken = True
            await redis.set(name, "junk")
        await load(table, key)

    monkeypatch.setattr(Table, "load", breaking)
    await shop.send([1])
    async with shop.running():
        await until(lambda: "another program has written" in caplog.text, "it is told")
        await redis.delete(name)
        await until(lambda: _reads(shop, {1: 1}), "it comes back")
    assert "skipped" not in caplog.text
