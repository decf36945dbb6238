"""The permissions that are asked for are enough to administer what was set aside."""

from __future__ import annotations

import secrets

import pytest
from redis.asyncio import Redis

from runnel import protocol
from runnel.connection.connect import connect
from runnel.operations import admin, dead
from runnel.operations.dead import Wanted
from runnel.preflight.checks import check_dead
from runnel.preflight.parking import required_by_dead
from runnel.protocol import CheckpointMove, Token
from runnel.protocol.scripts import Scripts
from tests.integration.clerk import PICKY, Grant, Numbered, items, minimal_rules
from tests.integration.test_checks import on_one_primary


@on_one_primary
@pytest.mark.parametrize("action", ["list", "replay", "drop"])
async def test_the_required_rules_are_enough(redis: Redis, grant: Grant, action: str) -> None:
    scripts, nonce = Scripts(redis), secrets.token_hex(16)
    await admin.add(scripts, PICKY)
    of, contract = PICKY.keys(0), PICKY.stream.contract
    fields = items.spec.encode(Numbered(key="k", number=1))
    await redis.xadd(of.log, dict(zip(fields[::2], fields[1::2], strict=True)), "5-0")
    claimed = protocol.read_claim(await scripts.call(protocol.claim(of, contract, "m", 1, nonce)))
    entry = protocol.parked_entry(b"k", "5-0", fields, 1, ("Boom", "x"))
    parks = [protocol.ParkedEntries(of, 9, [entry])]
    move = CheckpointMove("0-0", "5-0", 1)
    await scripts.call(protocol.transact(of, Token(claimed.epoch, nonce), move, parks))
    url = await grant(minimal_rules(required_by_dead(PICKY, action)))
    async with connect(url) as client:
        clerk = Scripts(client)
        await check_dead(clerk, PICKY, action, url)
        found = [each async for each in dead.find(clerk, PICKY, Wanted())]
        assert [each.event for each in found] == ["5-0"]
        if action == "replay":
            await dead.replay(clerk, PICKY, found)
            assert await redis.hget(of.state, "replay") == b"1"
        elif action == "drop":
            assert await dead.drop(clerk, PICKY, found) == 1
