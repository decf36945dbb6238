"""One member of an app leads it, one caller fires an instant, and a user learns what it may run."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.connection.connect import connect
from runnel.protocol import Election, Tick
from runnel.protocol.scripts import Scripts
from tests.integration.clerk import Grant

FAR = 9_000_000_000_000


async def test_one_member_leads_until_it_leaves(
    redis: Redis, scripts: Scripts, app_name: str
) -> None:
    async def elect(member: str, leave: bool = False) -> Election:
        call = protocol.elect(app_name, member, f"nonce of {member}", 5000, leave)
        return protocol.read_elect(await scripts.call(call))

    first = await elect("a")
    assert first == Election(True, 5000)
    assert await redis.hget(keys.leader(app_name), "member") == b"a"
    assert await redis.hget(keys.leader(app_name), "nonce") == b"nonce of a"
    other = await elect("b")
    assert not other.leading
    assert 0 < other.left_ms <= 5000
    assert await elect("a") == Election(True, 5000)
    assert await elect("a", leave=True) == Election(False, 0)
    assert await elect("b") == Election(True, 5000)


async def test_one_caller_fires_an_instant_once_it_is_due(
    redis: Redis, scripts: Scripts, app_name: str
) -> None:
    async def tick(instant: int, nonce: str) -> Tick:
        call = protocol.tick(app_name, "sweep", instant, nonce, "0 2 * * * UTC")
        return protocol.read_tick(await scripts.call(call))

    assert await tick(0, "a") == Tick(fire=False, early=False, wait_ms=0)
    stored = await redis.hget(keys.ticks(app_name), "sweep")
    assert stored is not None
    instant = int(stored.split()[0]) + 1
    while (first := await tick(instant, "a")).early:
        assert first.wait_ms > 0
    assert first == Tick(fire=True, early=False, wait_ms=0)
    assert (await tick(instant, "a")).fire, "its reply may have been lost"
    assert await tick(instant, "b") == Tick(fire=False, early=False, wait_ms=0)
    early = await tick(FAR, "b")
    assert (early.fire, early.early) == (False, True)
    assert 0 < early.wait_ms < FAR
    written = await redis.hget(keys.ticks(app_name), "sweep")
    assert written is not None
    assert b"0 2 * * * UTC" in written


@pytest.mark.only_on("server", "sentinel")  # On a cluster, users exist per node.
async def test_a_user_learns_which_commands_it_may_run_and_which_there_are(
    redis: Redis, grant: Grant
) -> None:
    url = await grant(["+evalsha", "+script|load", "+get", "+xinfo|stream", "~a*"])
    async with connect(url) as clerk:
        asked = [("GET", "abc"), ("GET", "xyz"), ("XINFO", "STREAM", "a"), ("PING",), ("NONE", "a")]
        reply = await Scripts(clerk).call(protocol.check_acl(asked))
    assert protocol.read_check_acl(reply) == [True, False, True, False, None]
