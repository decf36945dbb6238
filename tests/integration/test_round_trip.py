"""One event from append to checkpoint with nothing but the scripts, on whatever server is given."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.connection.url import parse
from runnel.errors import Fenced
from runnel.preflight.server import check_server
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Scripts

AGREEMENT = StreamContract(partitions=1, hash="xxh64")


async def _claim(scripts: Scripts, place: PartitionKeys, grant: int) -> Token:
    nonce = secrets.token_hex(16)
    call = protocol.claim(place, AGREEMENT, "member", grant, nonce)
    return Token(protocol.read_claim(await scripts.call(call)).epoch, nonce)


async def _lag(redis: Redis, place: PartitionKeys) -> Any:
    (group,) = await redis.xinfo_groups(place.log)
    return group["lag"]


async def test_the_server_is_one_that_runnel_can_use(redis: Redis, redis_url: str) -> None:
    info = await check_server(redis, redis_url)
    kind = parse(redis_url).kind
    assert info.mode == ("standalone" if kind == "server" else kind)


async def test_an_event_goes_from_append_to_checkpoint(redis: Redis, app_name: str) -> None:
    scripts = Scripts(redis)
    await scripts.load()
    place = PartitionKeys(keys.partition(app_name, "orders", 0, "orders"), "printer")
    await scripts.call(protocol.register(place, AGREEMENT, "0"))

    append = protocol.append(
        place.prefix, AGREEMENT, 100, "refuse", "producer", 1, [[b"field", b"value"]]
    )
    sent = protocol.read_append(await scripts.call(append))
    again = protocol.read_append(await scripts.call(append))
    assert (sent.applied, again.applied) == (True, False)
    assert sent.ids == again.ids
    assert await _lag(redis, place) == 1

    token = await _claim(scripts, place, grant=1)
    step = CheckpointMove("0-0", sent.ids[0], 1)
    committed = await scripts.call(protocol.commit(place, token, step))
    assert protocol.read_commit(committed).applied
    assert await _lag(redis, place) == 0


async def test_a_holder_whose_partition_was_claimed_meanwhile_is_fenced(
    redis: Redis, app_name: str
) -> None:
    scripts = Scripts(redis)
    place = PartitionKeys(keys.partition(app_name, "orders", 0, "orders"), "printer")
    await scripts.call(protocol.register(place, AGREEMENT, "0"))
    sleeper = await _claim(scripts, place, grant=1)
    await _claim(scripts, place, grant=2)
    with pytest.raises(Fenced):
        await scripts.call(
            protocol.commit(place, sleeper, CheckpointMove("0-0", "0-0", 0, release=True))
        )
