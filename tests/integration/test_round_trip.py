"""One event goes from append to checkpoint with the scripts alone, on the shared server."""

from __future__ import annotations

import secrets
from typing import Any

from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Scripts

CONTRACT = StreamContract(partitions=1, hash="xxh64")


async def _claim(scripts: Scripts, partition_keys: PartitionKeys, grant: int) -> Token:
    nonce = secrets.token_hex(16)
    call = protocol.claim(partition_keys, CONTRACT, "member", grant, nonce)
    return Token(protocol.read_claim(await scripts.call(call)).epoch, nonce)


async def _lag(redis: Redis, partition_keys: PartitionKeys) -> Any:
    (group,) = await redis.xinfo_groups(partition_keys.log)
    return group["lag"]


async def test_an_event_goes_from_append_to_checkpoint(redis: Redis, app_name: str) -> None:
    scripts = Scripts(redis)
    await scripts.load()
    partition_keys = PartitionKeys(keys.partition(app_name, "orders", 0, "orders"), "printer")
    await scripts.call(protocol.register(partition_keys, CONTRACT, "0"))

    append = protocol.append(
        partition_keys.prefix, CONTRACT, 100, "refuse", "producer", 1, [[b"field", b"value"]]
    )
    sent = protocol.read_append(await scripts.call(append))
    repeated = protocol.read_append(await scripts.call(append))
    assert (sent.applied, repeated.applied) == (True, False)
    assert sent.ids == repeated.ids
    assert await _lag(redis, partition_keys) == 1

    token = await _claim(scripts, partition_keys, grant=1)
    move = CheckpointMove("0-0", sent.ids[0], 1)
    committed = await scripts.call(protocol.commit(partition_keys, token, move))
    assert protocol.read_commit(committed).applied
    assert await _lag(redis, partition_keys) == 0
