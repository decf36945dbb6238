"""What `runnel lua verify` finds in Redis."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.errors import ConfigError
from runnel.operations.loaded_scripts import verify
from runnel.protocol.scripts import PROTOCOL, sources, version
from tests.integration.inspected import COUNT, Shop


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    return Shop(redis, app_name)


async def join(shop: Shop, *descriptions: str) -> None:
    times = (10_000, 30_000, 0)
    for number, text in enumerate(descriptions):
        member = (f"w{number}", f"w{number}", text)
        await shop.scripts.call(protocol.sync(shop.group, COUNT, times, member, 1, "stay", (), ()))


async def seen(shop: Shop) -> dict[str, Any]:
    return await verify(shop.scripts, shop.app)


async def test_an_app_of_this_version(shop: Shop) -> None:
    await shop.scripts.load()
    await shop.open()
    await join(shop, f"h 1 python 1.0 {version()}", f"h 2 python 1.0 {version()}", "h 3 ruby 1")
    found = await seen(shop)
    assert found["is_this_version"] is True
    assert (found["script_set"], found["protocol"]) == (version(), PROTOCOL)
    assert all(set(node["loaded"]) == set(sources()) for node in found["nodes"])
    assert found["streams"] == [{"app": shop.app, "name": "orders", "protocol": PROTOCOL}]
    (processor,) = found["processors"]
    assert processor["members"] == [
        {"lang": "python", "version": "1.0", "scripts": version(), "count": 2},
        {"lang": "ruby", "version": "1", "scripts": None, "count": 1},
    ]


async def test_a_member_with_other_scripts_is_another_version_while_it_lives(shop: Shop) -> None:
    await shop.open()
    await join(shop, "h 1 python 0.9 0000000")
    assert (await seen(shop))["is_this_version"] is False
    await shop.redis.zadd(keys.sessions(shop.group), {"w0": await shop.now()})
    found = await seen(shop)
    assert (found["is_this_version"], found["processors"][0]["members"]) == (True, [])


async def test_a_newer_protocol_of_any_partition_is_another_version(shop: Shop) -> None:
    await shop.open()
    await shop.redis.hset(keys.meta(shop.keys(COUNT - 1).prefix), "protocol", str(PROTOCOL + 1))
    found = await seen(shop)
    assert found["is_this_version"] is False
    assert found["streams"][0]["protocol"] == PROTOCOL + 1


async def test_a_stream_that_is_only_declared_in_the_registry_has_no_protocol(shop: Shop) -> None:
    await shop.redis.sadd(keys.apps(), shop.app)
    await shop.redis.hset(keys.streams(shop.app), "orders", f"{COUNT} orders")
    found = await seen(shop)
    assert (found["streams"][0]["protocol"], found["is_this_version"]) == (None, True)


async def test_an_app_that_nobody_knows_is_named_with_those_that_there_are(shop: Shop) -> None:
    await shop.open()
    with pytest.raises(ConfigError, match=f"there is no app 'nobody' here; .*{shop.app}"):
        await verify(shop.scripts, "nobody")
