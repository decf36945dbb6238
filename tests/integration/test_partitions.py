"""What the calls of a partition's owner and of operators do, and what their replies say."""

from __future__ import annotations

import secrets

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.errors import Fenced
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Scripts

CONTRACT = StreamContract(partitions=1, hash="xxh64")


async def _claim(scripts: Scripts, partition_keys: PartitionKeys, grant: int) -> Token:
    nonce = secrets.token_hex(16)
    call = protocol.claim(partition_keys, CONTRACT, "member", grant, nonce)
    return Token(protocol.read_claim(await scripts.call(call)).epoch, nonce)


async def test_an_owner_is_fenced_after_another_member_claimed_its_partition(
    redis: Redis, app_name: str
) -> None:
    scripts = Scripts(redis)
    partition_keys = PartitionKeys(keys.partition(app_name, "orders", 0, "orders"), "printer")
    await scripts.call(protocol.register(partition_keys, CONTRACT, "0"))
    stale = await _claim(scripts, partition_keys, grant=1)
    await _claim(scripts, partition_keys, grant=2)
    with pytest.raises(Fenced):
        await scripts.call(
            protocol.commit(partition_keys, stale, CheckpointMove("0-0", "0-0", 0, release=True))
        )
