"""Tables are right with middleware that holds events back, and with handlers that do not end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Events, Middleware, Record, keys
from runnel.errors import NotInHandler
from runnel.stream import Stream
from runnel.table import Table
from runnel.worker.worker import Worker
from tests.worker.holding_back import OneBehind, Pairs

NUMBERS = range(12)


class Item(Record):
    number: int


class Slow(Middleware):
    """Takes a while for each event, before and after."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            await asyncio.sleep(0.002)
            yield item
            await asyncio.sleep(0.002)


def declare(url: str, name: str) -> tuple[App, Stream[Item], Table[int]]:
    """An app with one partition and a table."""
    app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.001, retries=20)
    items = app.stream("items", record=Item, partition_by=lambda _: 0, partition_count=1)
    return app, items, app.table("sums", items, value=int, default=0)


async def run(redis: Redis, app: App, items: Stream[Item]) -> int:
    """The sum in the table once all was processed."""
    async with app:
        await items.send(*(Item(number=each) for each in NUMBERS))
    async with asyncio.timeout(30):
        await Worker(app).run(burst=True)
    stored = await redis.hget(keys.table(items.spec.prefix(0), "sums"), b"0")
    return int(stored or b"0")


@pytest.mark.parametrize("middleware", [Pairs(), OneBehind(), Slow()])
async def test_each_event_counts_once_though_handlers_fail(
    redis: Redis, redis_url: str, app_name: str, middleware: Middleware
) -> None:
    app, items, sums = declare(redis_url, app_name)
    tried = Counter[int]()
    got: set[int] = set()

    @app.processor(items, middleware=[middleware])
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            sums[0] += 1 << item.number
            tried[item.number] += 1
            if item.number % 3 == 1 and tried[item.number] < 3:
                raise ValueError(item.number)
            got.add(item.number)

    # The last event may stay with the middleware: then it counts as dropped.
    assert await run(redis, app, items) == sum(1 << each for each in got)
    assert len(got) >= len(NUMBERS) - 1


async def test_a_wait_that_is_cancelled_undoes_nothing(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, items, sums = declare(redis_url, app_name)

    @app.processor(items, middleware=[Slow()])
    async def work(events: Events[Item]) -> None:
        iterator = aiter(events.records())
        for patience in itertools.cycle((0.001, 1.0)):  # Less than the middleware takes, and more.
            try:
                async with asyncio.timeout(patience):
                    item = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError:
                continue
            sums[0] += 1 << item.number

    assert await run(redis, app, items) == (1 << len(NUMBERS)) - 1


async def test_a_handler_that_does_not_end_cannot_write_any_more(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, items, sums = declare(redis_url, app_name)
    first, refused = True, asyncio.Event()
    left: list[asyncio.Task[None]] = []

    async def write_later() -> None:
        while True:
            await asyncio.sleep(0)
            try:
                sums[0] += 1 << 20
            except NotInHandler:
                refused.set()
                return
            sums[0] -= 1 << 20

    @app.processor(items)
    async def work(events: Events[Item]) -> None:
        nonlocal first
        async for item in events.records():
            sums[0] += 1 << item.number
            if first:
                first = False
                left.append(asyncio.create_task(write_later()))
                raise ValueError("the first run ends, and leaves a task behind")
            await refused.wait()

    assert await run(redis, app, items) == (1 << len(NUMBERS)) - 1
