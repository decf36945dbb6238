"""A stream is found without its code: in the registry, or by its first partition."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from runnel.errors import ConfigError, RunnelError
from runnel.operations.stream_from_registry import stream_from_registry
from runnel.protocol.scripts import Scripts
from tests.cli.commands import ORDERS, PRINTER
from tests.cli.conftest import GOOD, Run


async def test_a_stream_has_the_partitions_and_the_hash_that_redis_holds(
    redis: Redis, run: Run
) -> None:
    await redis.hset("runnel:{shop:orders:0}:orders:meta", mapping=CONTRACT)
    spec = await stream_from_registry(Scripts(redis), "shop", "orders")
    assert (spec.partition_count, spec.source, spec.hasher.name) == (4, "orders", "xxh64")
    assert spec.hasher(b"1") % 4 in range(4)
    await redis.hset("runnel:{shop:orders:0}:orders:meta", "hash", "theirs")
    spec = await stream_from_registry(Scripts(redis), "shop", "orders")
    with pytest.raises(RunnelError, match="the hash theirs is only known by its name"):
        spec.hasher(b"1")


CONTRACT: dict[Any, Any] = {"protocol": "1", "partitions": "4", "hash": "xxh64"}


async def test_a_derived_stream_is_in_the_slots_of_its_source(redis: Redis) -> None:
    await redis.hset("runnel:{shop}:streams", "orders.printer.dead", "4 orders")
    spec = await stream_from_registry(Scripts(redis), "shop", "orders.printer.dead")
    assert spec.prefix(3) == "runnel:{shop:orders:3}:orders.printer.dead"


async def test_an_unknown_stream_is_answered_with_those_that_exist(redis: Redis) -> None:
    with pytest.raises(ConfigError, match="its streams are none: check the name of the app"):
        await stream_from_registry(Scripts(redis), "shop", "order")
    await redis.hset("runnel:{shop}:streams", "orders", "4 orders")
    with pytest.raises(ConfigError, match="has no stream 'order'; its streams are orders"):
        await stream_from_registry(Scripts(redis), "shop", "order")


def test_a_stream_that_no_worker_has_announced_is_found(run: Run, admin: SyncRedis) -> None:
    here = ("tail", "--app", "shop", "--stream", "orders")
    for number in range(20):
        run("send", ORDERS, GOOD.replace("1,", f"{number},", 1))
    assert not admin.exists("runnel:{shop}:streams")
    assert run(*here, "-n", "all").stdout.count("\n") == 20
    run("processor", "add", PRINTER)
    assert admin.exists("runnel:{shop}:streams")
    assert run(*here, "-n", "all").stdout.count("\n") == 20
