"""Who works for a processor, and how many workers there are."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.protocol import PartitionKeys
from tests.integration.inspected import CONTRACT, COUNT, Shop


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    return Shop(redis, app_name)


async def test_a_member_is_shown_until_its_session_ends(shop: Shop) -> None:
    await shop.open()
    await shop.work("w1")
    await shop.join("w2")
    seen = await shop.seen()
    assert {each["id"] for each in seen["members"]} == {"w1", "w2"}
    await shop.redis.zadd(keys.sessions(shop.group), {"w2": await shop.now()})
    seen = await shop.seen()
    assert [each["id"] for each in seen["members"]] == ["w1"]
    assert seen["totals"]["members"] == 1


async def test_a_worker_of_two_processors_is_two_members_and_counts_once(shop: Shop) -> None:
    await shop.open()
    await shop.work("w1")
    await shop.redis.hset(keys.processors(shop.app), "orders@other", str(COUNT))
    for p in range(COUNT):
        partition_keys = PartitionKeys(shop.keys(p).prefix, "other")
        await shop.scripts.call(protocol.register(partition_keys, CONTRACT, "0"))
    shop.group = keys.group(shop.app, "orders", "other")
    await shop.join("w1")
    seen = await shop.seen()
    found = [(each["id"], each["processor"], each["partitions"]) for each in seen["members"]]
    assert found == [("w1", "other", []), ("w1", "printer", [0, 1, 2, 3])]
    assert seen["totals"]["members"] == 1


async def test_what_a_client_does_not_say_about_itself_is_null(shop: Shop) -> None:
    await shop.open()
    times, member = (10_000, 30_000, 0), ("w1", "w1", "elsewhere unknown")
    await shop.scripts.call(protocol.sync(shop.group, COUNT, times, member, 1, "stay", (), ()))
    (found,) = (await shop.seen())["members"]
    assert (found["host"], found["pid"], found["lang"], found["version"]) == (
        "elsewhere",
        None,
        None,
        None,
    )
