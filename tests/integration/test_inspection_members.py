"""Who works for a processor, and how many workers there are."""

from __future__ import annotations

from typing import Any

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
    assert (found["host"], found["pid"], found["lang"], found["version"], found["scripts"]) == (
        "elsewhere",
        None,
        None,
        None,
        None,
    )


async def described(shop: Shop, *descriptions: str) -> dict[str, Any]:
    """The report with a member for each description."""
    times = (10_000, 30_000, 0)
    for number, text in enumerate(descriptions, 1):
        member = (f"w{number}", f"w{number}", text)
        await shop.scripts.call(protocol.sync(shop.group, COUNT, times, member, 1, "stay", (), ()))
    return await shop.seen()


async def test_what_a_member_says_about_itself_is_shown(shop: Shop) -> None:
    await shop.open()
    seen = await described(shop, "h 7 python 1.0 4fbc2d1", "- - ruby 0.1 4fbc2d1 later words")
    first, second = sorted(seen["members"], key=lambda each: str(each["id"]))
    assert (first["lang"], first["version"], first["scripts"]) == ("python", "1.0", "4fbc2d1")
    assert (second["host"], second["pid"], second["scripts"]) == (None, None, "4fbc2d1")
    assert seen["processors"][0]["mixed"] is False


@pytest.mark.parametrize(
    ("other", "mixed"),
    [
        ("h 8 python 1.0 4fbc2d2", True),
        ("h 8 python 1.1 4fbc2d1", True),
        ("h 8 typescript 1.1 4fbc2d1", False),
        ("h 8 python 1.0", False),
        ("h", False),
    ],
)
async def test_members_of_different_versions_are_reported(
    shop: Shop, other: str, mixed: bool
) -> None:
    await shop.open()
    seen = await described(shop, "h 7 python 1.0 4fbc2d1", other)
    assert seen["processors"][0]["mixed"] is mixed


async def test_a_member_of_an_older_client_has_no_script_set(shop: Shop) -> None:
    await shop.open()
    await shop.work()
    record = "w11 - 1 1 stay h 1 x 1 anything else"  # As an older `sync` stored it.
    await shop.redis.hset(keys.members(shop.group), "w1", record)
    (found,) = (await shop.seen())["members"]
    assert (found["version"], found["scripts"]) == ("1", None)
