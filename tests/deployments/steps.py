"""One stream with a partition on each master, and the calls that several tests make."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError, TimeoutError

from runnel import keys, protocol
from runnel.protocol import Appended, CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Call, Scripts
from tests.nodes import ask
from tests.servers import Server

CONTRACT = StreamContract(partitions=1, hash="xxh64")


def spread(app: str, masters: int = 3) -> list[PartitionKeys]:
    """A partition in each equal share of the slots, so one on each master of a new cluster."""
    found: dict[int, PartitionKeys] = {}
    number = 0
    while len(found) < masters:
        partition = PartitionKeys(keys.partition(app, "s", number, "s"), "p")
        found.setdefault(slot(partition) * masters // 16384, partition)
        number += 1
    return [found[share] for share in sorted(found)]


def slot(partition: PartitionKeys) -> int:
    """The slot of a partition."""
    return key_slot(partition.log.encode())


def append(partition: PartitionKeys, number: int) -> Call:
    """The event of a producer that sends 1, 2, 3 …"""
    entry = [b"n", str(number).encode()]
    return protocol.append(partition.prefix, CONTRACT, 10_000, "refuse", "me", number, [entry])


async def ready(scripts: Scripts, partition: PartitionKeys) -> None:
    """Register the processor on the partition."""
    await scripts.call(protocol.register(partition, CONTRACT, "0"))


async def claimed(scripts: Scripts, partition: PartitionKeys, grant: int = 1) -> Token:
    """Claim the partition."""
    nonce = secrets.token_hex(16)
    call = protocol.claim(partition, CONTRACT, "member", grant, nonce)
    return Token(protocol.read_claim(await scripts.call(call)).epoch, nonce)


def commit(partition: PartitionKeys, token: Token, before: str, after: str) -> Call:
    """Finish one event."""
    return protocol.commit(partition, token, CheckpointMove(before, after, 1))


async def until_answered(scripts: Scripts, call: Call) -> Appended:
    """Repeat an append, byte for byte, for as long as a connection is lost or refused."""
    while True:
        try:
            return protocol.read_append(await scripts.call(call))
        except (ConnectionError, TimeoutError):
            continue


async def numbers(scripts: Scripts, partition: PartitionKeys) -> Sequence[int]:
    """What the log holds."""
    entries: Any = await scripts.client.xrange(partition.log)
    return [int(fields[b"n"]) for _, fields in entries]


async def cancelled_close(client: Redis, steps: int) -> None:
    """Close a client, and cancel that after so many steps of the event loop."""
    closing = asyncio.create_task(client.aclose())
    for _ in range(steps):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])


def nobody_named(name: str) -> Callable[[Server], bool]:
    """Whether no connection of that name is left at a server."""
    return lambda server: f"name={name}" not in ask(server, "CLIENT LIST")
