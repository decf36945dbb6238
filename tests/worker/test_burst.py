"""What a burst waits for: see also `tests/worker/test_worker.py`."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel import App, Record, Worker
from runnel.errors import BurstBlocked
from runnel.protocol.scripts import Scripts
from runnel.worker.burst import until_committed


class Order(Record):
    id: int


def declared(app_name: str, url: str) -> App:
    app = App(app_name, redis_url=url, retries=0)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=2)

    @app.on(orders)
    async def bill(order: Order) -> None:
        if order.id == 13:
            raise ValueError("no such order")

    return app


async def test_it_waits_until_all_is_committed(redis: Redis, redis_url: str, app_name: str) -> None:
    app = declared(app_name, redis_url)
    await Worker(app).run(burst=True)  # Registers the processor.
    await app.streams["orders"].send(Order(id=1), Order(id=2))
    waits = asyncio.create_task(
        until_committed(list(app.processors.values()), Scripts(redis), asyncio.Event(), ())
    )
    done, _ = await asyncio.wait([waits], timeout=0.5)
    assert not done, "nobody has processed anything"
    async with Worker(app):
        await asyncio.wait_for(waits, 30)
    await app.close()


async def test_it_waits_for_nothing_once_the_worker_ends_or_the_processor_is_removed(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = declared(app_name, redis_url)
    await Worker(app).run(burst=True)
    await app.streams["orders"].send(Order(id=1))
    processors, stop = list(app.processors.values()), asyncio.Event()
    await asyncio.wait_for(until_committed(processors, Scripts(redis), stop, {"bill"}), 30)
    stop.set()
    await asyncio.wait_for(until_committed(processors, Scripts(redis), stop, ()), 30)
    await app.close()


async def test_a_burst_that_can_only_wait_for_a_person_ends_with_an_error(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = declared(app_name, redis_url)
    await app.streams["orders"].send(Order(id=13))
    with pytest.raises(BurstBlocked, match="is quarantined"):
        await asyncio.wait_for(Worker(app).run(burst=True), 30)
    await app.close()
