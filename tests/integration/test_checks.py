"""The checks that a worker makes before it writes anything."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from runnel import App, Events, Record, keys
from runnel.codec.partitioning import XXH64
from runnel.errors import Mismatch, ServerError
from runnel.worker.worker import Worker
from tests.lua.conftest import Raw
from tests.primaries import every_key
from tests.servers import Server


class Item(Record):
    key: str


class Other(XXH64):
    name = "other"


def declare(name: str, url: str, **options: Any) -> App:
    """An app with one stream and one processor."""
    app = App(name, redis_url=url, rebalance_delay=0.0)
    options = {"partition_count": 2, **options}
    stream = app.stream("items", record=Item, partition_by="key", **options)

    @app.processor(stream)
    async def reader(events: Events[Item]) -> None:
        async for _ in events.records():
            pass

    return app


async def run_until_done(app: App) -> None:
    """Run a worker until everything is processed."""
    await Worker(app).run(burst=True)


@pytest.mark.parametrize(
    ("options", "stored", "field", "values"),
    [
        ({"partition_count": 4}, {}, "partitions", ("2", "4")),
        ({"partition_count": 1}, {}, "partitions", ("2", "1")),
        ({"hasher": Other()}, {}, "hash", ("xxh64", "other")),
        ({}, {"protocol": "2"}, "protocol", ("2", "1")),
    ],
)
async def test_a_worker_whose_stream_contract_differs_writes_nothing(
    redis: Redis,
    redis_url: str,
    app_name: str,
    options: dict[str, Any],
    stored: dict[str, str],
    field: str,
    values: tuple[str, str],
) -> None:
    await run_until_done(declare(app_name, redis_url))
    for name, value in stored.items():
        meta = keys.meta(keys.partition(app_name, "items", 0, "items"))
        await redis.hset(meta, name, value)
    before = await Raw(redis).dump()
    with pytest.raises(Mismatch) as caught:
        await run_until_done(declare(app_name, redis_url, **options))
    details = caught.value.details
    assert (details["stream"], details["field"]) == ("items", field)
    assert (details["stored"], details["given"]) == values
    assert await Raw(redis).dump() == before


async def test_a_key_of_another_program_is_named(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    prefix = keys.partition(app_name, "items", 0, "items")
    await redis.set(keys.meta(prefix), "not ours")
    with pytest.raises(ServerError, match="holds something else") as caught:
        await run_until_done(declare(app_name, redis_url))
    assert prefix in str(caught.value)
    assert await every_key(redis) == [keys.meta(prefix).encode()]


async def test_streams_of_the_first_runnel_are_reported_and_not_changed(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    old = [f"__strm:{app_name}.items.{number}" for number in (0, 7, 15)]
    for name in old:
        await redis.xadd(name, {"data": "{}"})
    await redis.xadd(f"__strm:{app_name}.other.0", {"data": "{}"})
    before = {name: await redis.dump(name) for name in old}
    with caplog.at_level(logging.WARNING, "runnel.worker"):
        await run_until_done(declare(app_name, redis_url))
    (message,) = [each.getMessage() for each in caplog.records if "2020" in each.getMessage()]
    assert f"3 streams of the first Runnel (2020) for stream items, such as {old[0]}" in message
    assert f"'__*:{app_name}.items.*'" in message
    assert {name: await redis.dump(name) for name in old} == before


async def test_without_streams_of_the_first_runnel_there_is_no_warning(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await redis.xadd(f"__strm:{app_name}2.items.0", {"data": "{}"})
    await run_until_done(declare(app_name, redis_url))
    assert "2020" not in caplog.text


@pytest.mark.fault(28)
async def test_a_worker_starts_on_a_full_server_and_works_it_off(
    server: Server, app_name: str
) -> None:
    app = declare(app_name, server.url)
    stream = app.streams["items"]
    await stream.send(*(Item(key=str(number)) for number in range(10)))
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError):
            await stream.send(Item(key="one more"))
        await run_until_done(app)
        all_keys = [app.processors["reader"].keys(p) for p in (0, 1)]
        done = [
            client.hget(partition_keys.of_script()[2], "processed") for partition_keys in all_keys
        ]
    assert sum(int(each or 0) for each in done) == 10
