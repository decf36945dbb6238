"""`send(dedupe=…)`: one event under a natural key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.errors import ConfigError, Full
from tests.integration.sends import declare, items, stored
from tests.proxy import Proxy


async def test_a_record_is_sent_once_under_its_key(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        first = await stream.send(*items(1), dedupe="order-1")
        assert await stream.send(*items(1), dedupe="order-1") == first
        assert await stream.send(*items(2), dedupe=2) != first
    app, stream = declare(app_name, redis_url)
    async with app:
        assert await stream.send(*items(1), dedupe=b"order-1") == first, "after a restart, too"
    assert await stored(redis, stream) == {0: [1, 2]}


async def test_sends_with_and_without_a_key_keep_their_order(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        await asyncio.gather(
            *(
                stream.send(*items(number), dedupe=f"order-{number}" if number % 2 else None)
                for number in range(40)
            )
        )
    assert await stored(redis, stream) == {0: list(range(40))}


async def test_many_sends_of_one_key_at_the_same_time_send_once(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    apps = [declare(app_name, redis_url) for _ in range(5)]
    sends = [stream.send(*items(7), dedupe="order-7") for _, stream in apps for _ in range(10)]
    found = await asyncio.gather(*sends)
    for app, _ in apps:
        await app.close()
    assert len({each for (each,) in found}) == 1
    assert await stored(redis, apps[0][1]) == {0: [7]}


@pytest.mark.only_on("server")
async def test_a_lost_reply_is_no_duplicate(redis: Redis, redis_url: str, app_name: str) -> None:
    async with Proxy(redis_url) as proxy:
        app, stream = declare(app_name, proxy.url)
        async with app:
            await stream.send(*items(1))
            proxy.lose_reply_to(b":dedupe:order-2")
            (sent,) = await stream.send(*items(2), dedupe="order-2")
            await stream.send(*items(3))
    entries: Any = await redis.xrange(keys.log(stream.spec.prefix(sent.partition)))
    assert entries[1][0].decode() == sent.id
    assert await stored(redis, stream) == {0: [1, 2, 3]}


async def test_a_full_partition_refuses_it_or_waits(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url, partition_size=2)
    async with app:
        await stream.send(*items(1, 2))
        with pytest.raises(Full) as raised:
            await stream.send(*items(3), dedupe="order-3")
        assert raised.value.sent == [None]
        waiting = asyncio.create_task(stream.send(*items(3), dedupe="order-3", wait=True))
        (partition,) = [
            each for each in range(4) if await redis.exists(keys.log(stream.spec.prefix(each)))
        ]
        await redis.xtrim(keys.log(stream.spec.prefix(partition)), maxlen=0)
        await waiting
        await stream.send(*items(4), dedupe="order-4", drop_oldest=True)
        await stream.send(*items(5), dedupe="order-5", drop_oldest=True)
    assert await stored(redis, stream) == {0: [4, 5]}


async def test_the_key_is_remembered_for_the_window_and_never_less_than_repeats_take(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    for window, timeout, expected in ((300, 10.0, 300), (1, 60.0, 120)):
        app, stream = declare(
            app_name, redis_url, dedupe_window=float(window), delivery_timeout=timeout
        )
        async with app:
            (sent,) = await stream.send(*items(1), dedupe=f"order-{window}")
        key = keys.dedupe(stream.spec.prefix(sent.partition), f"order-{window}")
        assert expected - 60 < await redis.ttl(key) <= expected


@pytest.mark.parametrize("dedupe", ["", True, 1.5, "x" * 501])
async def test_a_key_that_is_none_is_refused_and_nothing_is_sent(
    redis: Redis, redis_url: str, app_name: str, dedupe: Any
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        with pytest.raises(ConfigError, match="dedupe"):
            await stream.send(*items(1), dedupe=dedupe)
        with pytest.raises(ConfigError, match="one record, not 2"):
            await stream.send(*items(1, 2), dedupe="order-1")
    assert await stored(redis, stream) == {}
