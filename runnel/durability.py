"""Waiting until what was written would survive the loss of its primary, or of the power.

Redis answers a write before its replicas have it and before it is on disk. WAIT and WAITAOF tell
when they are, for all that was written before on the same connection. A repeat of a commit writes
nothing and may go out on another connection; so a small write of its own goes before the question,
which then covers whatever the primary was told earlier, by whomever.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Literal

from redis.exceptions import RedisError, TimeoutError

from runnel import keys
from runnel.deployment import Deployment
from runnel.errors import ServerError

#: What an acknowledged send or commit must survive: the loss of a worker or of the server's process
#: (with an append-only file), that of the primary, or that of the power.
Durability = Literal["primary", "replica", "fsync"]

#: Milliseconds to wait for replicas or the disk before it is told that they are late.
PATIENCE_MS = 1000
#: The barrier key goes away by itself when it was not used for a day.
_DAY_MS = 86_400_000


async def confirm(
    deployment: Deployment, durability: Durability, prefixes: Sequence[str]
) -> dict[str, Exception]:
    """Ask whether what was written to these partitions is as durable as that.

    Returns the partitions, by key prefix, for which nobody knows yet, and why.
    """
    if durability == "primary" or not prefixes:
        return {}
    nodes: defaultdict[Hashable, list[str]] = defaultdict(list)
    for prefix in prefixes:
        nodes[deployment.node_of(keys.log(prefix))].append(prefix)
    problems = await asyncio.gather(
        *(_ask(deployment, durability, here[0]) for here in nodes.values())
    )
    return {
        prefix: problem
        for here, problem in zip(nodes.values(), problems, strict=True)
        if problem is not None
        for prefix in here
    }


async def check_possible(deployment: Deployment, durability: Durability) -> None:
    """Raises ServerError if nobody can tell when a write is on disk."""
    if durability != "fsync":
        return
    for client in await deployment.primaries():
        (reply,) = await client.roundtrip([("WAITAOF", 1, 0, 1)])
        if isinstance(reply, Exception):
            raise ServerError(
                'durability="fsync" needs WAITAOF, so Redis 7.2 or Valkey with appendonly yes: '
                f"{reply}"
            )


async def _ask(deployment: Deployment, durability: Durability, prefix: str) -> Exception | None:
    """What is against it on the node of this partition, or None."""
    barrier = keys.barrier(prefix)
    # A full server refuses SET and allows PEXPIRE: one of them is enough.
    words: list[tuple[str | int, ...]] = [
        ("SET", barrier, ""),
        ("PEXPIRE", barrier, _DAY_MS),
        ("WAIT", 1, PATIENCE_MS) if durability == "replica" else ("WAITAOF", 1, 0, PATIENCE_MS),
    ]
    try:
        client = deployment.client_for(keys.log(prefix))
        *_, written, reply = await client.roundtrip(words, PATIENCE_MS / 1000)
    except (RedisError, OSError) as error:
        return error
    for each in (written, reply):
        if isinstance(each, Exception):
            return each
    if not written:
        return TimeoutError(f"{barrier} could not be written")
    if durability == "replica" and int(reply) < 1:
        return TimeoutError("no replica has it yet")
    if durability == "fsync" and int(reply[0]) < 1:
        return TimeoutError("it is not on disk yet")
    return None
