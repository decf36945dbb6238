"""A processor whose code is gone can be administered, but it cannot run."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import App, Record, keys
from runnel.errors import ConfigError
from runnel.operations import admin
from runnel.operations.processor_from_registry import processor_from_registry
from runnel.operations.registry import announce_processor, announce_stream
from runnel.protocol.scripts import Scripts


class Order(Record):
    id: int


async def bill(order: Order) -> None:
    """A handler."""


async def revive(letter: object) -> None:
    """A handler of dead letters."""


@pytest.fixture
def app(redis: Redis, redis_url: str, app_name: str) -> App:
    """An app with a processor of a stream, and one of its dead letters."""
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=3)
    app.on(orders)(bill)
    app.on(orders.dead_letters("bill"))(revive)
    return app


@pytest.mark.parametrize("name", ["bill", "revive"])
async def test_it_has_the_keys_of_the_processor_that_was_registered(
    redis: Redis, app: App, name: str
) -> None:
    scripts, declared = Scripts(redis), app.processors[name]
    await announce_processor(scripts, declared)
    await admin.add(scripts, declared)
    found = await processor_from_registry(scripts, app.name, declared.stream.name, name)
    assert found.group == declared.group
    assert found.stream.contract == declared.stream.contract
    assert [found.keys(p) for p in range(3)] == [declared.keys(p) for p in range(3)]
    assert await admin.pause(scripts, found) == 3


async def test_the_partition_count_is_that_of_the_stream_and_not_that_of_the_registry(
    redis: Redis, app: App
) -> None:
    scripts, declared = Scripts(redis), app.processors["bill"]
    await announce_stream(scripts, declared.stream)
    found = await processor_from_registry(scripts, app.name, "orders", "bill")
    assert found.stream.partition_count == 3
    await admin.add(scripts, declared)
    await redis.hset(keys.streams(app.name), "orders", "7 orders")
    found = await processor_from_registry(scripts, app.name, "orders", "bill")
    assert found.stream.partition_count == 3


async def test_an_unknown_stream_is_refused_with_those_that_exist(redis: Redis, app: App) -> None:
    scripts = Scripts(redis)
    with pytest.raises(ConfigError, match="its streams are none: check the name of the app"):
        await processor_from_registry(scripts, app.name, "orders", "bill")
    for processor in app.processors.values():
        await announce_processor(scripts, processor)
    with pytest.raises(ConfigError, match=r"its streams are orders, orders\.bill\.dead"):
        await processor_from_registry(scripts, app.name, "order", "bill")
