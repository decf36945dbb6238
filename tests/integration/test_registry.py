"""Names are written for `inspect`. A full server that refuses them harms nothing."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from runnel import App, Record, keys
from runnel.connection.connect import connect
from runnel.operations.inspection import apps, inspect
from runnel.operations.registry import announce_processor, announce_stream
from runnel.preflight.server import check_server
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from tests.servers import Server


class Order(Record):
    id: int


async def bill(order: Order) -> None:
    """A handler."""


def declared(app_name: str, url: str) -> Processor:
    app = App(app_name, redis_url=url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=3)
    app.on(orders)(bill)
    return app.processors["bill"]


async def test_what_is_announced_is_shown_without_code(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    scripts, server = Scripts(redis), await check_server(redis, redis_url)
    processor = declared(app_name, redis_url)
    await announce_stream(scripts, processor.stream)
    assert await apps(redis) == [app_name]
    seen = await inspect(redis, server, app_name)
    assert [(each["name"], each["partition_count"]) for each in seen["streams"]] == [("orders", 3)]
    assert seen["processors"] == []
    await redis.delete(keys.streams(app_name))
    await announce_processor(scripts, processor)
    assert await redis.hgetall(keys.streams(app_name)) == {b"orders": b"3 orders 50000 0 always"}
    (shown,) = (await inspect(redis, server, app_name))["processors"]
    assert (shown["name"], shown["stream"], len(shown["partitions"])) == ("bill", "orders", 3)


async def test_a_full_server_that_refuses_the_names_is_no_error(app_name: str) -> None:
    with Server(maxmemory="1", maxmemory_policy="noeviction") as server:
        async with connect(server.url) as client:
            with pytest.raises(OutOfMemoryError):
                await client.set("anything", "at all")
            await announce_processor(Scripts(client), declared(app_name, server.url))
            assert await apps(client) == []
