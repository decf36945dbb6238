"""What an operator of snapshots needs."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.connection.connect import connect
from runnel.errors import ServerError, Unregistered
from runnel.operations import admin, snapshot_parts
from runnel.operations.snapshots import restore, returns_of, take
from runnel.preflight.snapshot_checks import check_snapshots, required_by_snapshots
from runnel.protocol.scripts import Scripts
from tests.integration.clerk import PICKY, Grant, minimal_rules


@pytest.mark.only_on("server", "sentinel")
@pytest.mark.parametrize("action", ["take", "list", "restore", "delete"])
async def test_the_required_rules_are_enough(redis: Redis, grant: Grant, action: str) -> None:
    owner = Scripts(redis)
    await admin.add(owner, PICKY)
    for number in range(2):
        prefix = PICKY.keys(number).prefix
        await redis.hset(keys.meta(prefix), "table:totals", "picky")
        await redis.hset(keys.table(prefix, "totals"), "a", "1")
        await redis.zadd(keys.expiry(prefix, "totals"), {"a": 1})
    if action != "take":
        assert [each async for each in take(owner, PICKY, "s")]
    url = await grant(minimal_rules(required_by_snapshots(PICKY, action)))
    async with connect(url) as client:
        scripts = Scripts(client)
        await check_snapshots(scripts, PICKY, action, url)
        if action == "take":
            assert len([each async for each in take(scripts, PICKY, "s")]) == 2
            return
        found = (await snapshot_parts.snapshots_of(scripts, PICKY))["s"]
        assert found.tables == {"totals": 2}
        if action == "restore":
            returns = await returns_of(scripts, PICKY, found)
            assert len([each async for each in restore(scripts, PICKY, "s", returns)]) == 2
        elif action == "delete":
            await snapshot_parts.delete(scripts, PICKY, found)


@pytest.mark.only_on("server", "sentinel")
async def test_a_missing_permission_is_named_before_anything_is_written(
    redis: Redis, grant: Grant
) -> None:
    await admin.add(Scripts(redis), PICKY)
    rules = minimal_rules(required_by_snapshots(PICKY, "restore"))
    url = await grant([each for each in rules if each != "+rename"])
    async with connect(url) as client:
        with pytest.raises(ServerError, match="run RENAME: ACL SETUSER clerk \\+rename"):
            await check_snapshots(Scripts(client), PICKY, "restore", url)


async def test_snapshots_are_taken_of_what_is_registered(redis: Redis, redis_url: str) -> None:
    scripts = Scripts(redis)
    for action in ("take", "restore"):
        with pytest.raises(Unregistered, match="picky is not registered on stream items"):
            await check_snapshots(scripts, PICKY, action, redis_url)
    await check_snapshots(scripts, PICKY, "list", redis_url)
