"""Reads from Redis, from outside, who owns each partition and how far it has got."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.connection.connect import connect
from runnel.errors import RunnelError
from runnel.protocol import GroupDescription, PartitionDescription
from runnel.protocol.scripts import Scripts
from tests.soak.app import (
    PARTITIONS,
    app,
    asked,
    charged,
    counts,
    entries,
    postings,
    reminded,
    sums,
)
from tests.soak.history import Id, Look, parse_id

PROCESSORS = tuple(app.processors)
reminders = app.streams["reminders"].spec
#: The one that reads what is sent for later.
REMINDER = "remind"
#: The one that has an event later if it fails.
SETBACK_OF = "charge"
#: Those that read what others emit.
SECOND = tuple(name for name, each in app.processors.items() if each.stream is postings.spec)
#: Those that have several events of a partition at the same time -> how many.
TOGETHER = {name: each.concurrency for name, each in app.processors.items() if each.concurrency > 1}
_PARTITIONS = [
    (name, partition, each.keys(partition))
    for name, each in app.processors.items()
    for partition in range(each.stream.partition_count)
]


class Watch:
    """Looks at every partition now and then, and keeps what it saw."""

    def __init__(self, url: str) -> None:
        self._client = connect(url, 2.0)
        self._scripts = Scripts(self._client)
        self.looks: list[Look] = []
        #: One look at a time: of two at once, the reply to the first may come last.
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def run(self, pause: float = 0.25) -> None:
        """Look until cancelled; a server that is away is looked at later."""
        while True:
            with contextlib.suppress(RedisError, RunnelError, OSError):
                await self.look()
            await asyncio.sleep(pause)

    async def look(self) -> list[Look]:
        """Every processor on every partition, each in one instant, later than at the last look."""
        async with self._turn:
            looks = [
                Look(
                    processor,
                    partition,
                    described.epoch or 0,
                    parse_id(described.checkpoint or "0-0"),
                    described.processed or 0,
                    described.lost or 0,
                    described.added or 0,
                    _lag(described),
                )
                for (processor, partition, _), described in zip(
                    _PARTITIONS, await self._describe(), strict=True
                )
            ]
            self.looks += looks
        return looks

    async def owners(self) -> dict[str, list[str | None]]:
        """For each processor, who holds each partition: members that live under a token that is
        not released, or nobody."""
        descriptions = iter(await self._describe())
        found: dict[str, list[str | None]] = {}
        for name in PROCESSORS:
            group_description = await self._describe_group(name)
            living = {each.id for each in group_description.members if each.left_ms > 0}
            partition_count = app.processors[name].stream.partition_count
            rows = [next(descriptions) for _ in range(partition_count)]
            owners = [row.lease_owner for row in rows]
            found[name] = [owner if owner in living else None for owner in owners]
        return found

    async def owned(self, but: str = "") -> bool:
        """Is every partition held by a living member, none by the one named?"""
        held = [owner for row in (await self.owners()).values() for owner in row]
        return None not in held and but not in held

    async def balanced(self, members: int) -> bool:
        """Do so many members share the partitions of each processor evenly?"""
        for row in (await self.owners()).values():
            counts = [row.count(each) for each in set(row)]
            if None in row or len(counts) != members or max(counts) - min(counts) > 1:
                return False
        return True

    async def caught_up(self) -> bool:
        """Is nothing behind any checkpoint, nor on its way to another stream, nor for later, nor
        postponed?"""
        for _ in range(2):  # What the first stage had emitted is seen the second time.
            if any(each.lag != 0 for each in await self.look()):
                return False
            for _, _, names in _PARTITIONS:
                if await self._client.xlen(names.outbox):
                    return False
                if await self._client.zcard(names.postponed):
                    return False
            for partition in range(reminders.partition_count):
                if await self._client.zcard(keys.delayed(reminders.prefix(partition))):
                    return False
        return True

    async def logs(self) -> dict[int, list[Id]]:
        """For each partition, the ids in its log."""
        found = {}
        for partition in range(PARTITIONS):
            log = keys.log(entries.spec.prefix(partition))
            there: Any = await self._client.xrange(log)
            found[partition] = [parse_id(id_.decode()) for id_, _ in there]
        return found

    async def tables(self) -> dict[str, dict[str, int]]:
        """What the tables have: key -> value."""
        found: dict[str, dict[str, int]] = {}
        for table in (sums, asked, charged, counts, reminded):
            found[table.name] = {}
            for partition in range(table.stream.partition_count):
                name = keys.table(table.stream.prefix(partition), table.name)
                fields: Any = await self._client.hgetall(name)
                found[table.name] |= {key.decode(): int(value) for key, value in fields.items()}
        return found

    async def until(
        self, condition: Callable[[], Awaitable[bool]], seconds: float, poll: float = 0.05
    ) -> float | None:
        """The seconds until a condition holds, or None if it does not within `seconds`."""
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            with contextlib.suppress(RedisError, RunnelError, OSError):  # The server is away.
                if await condition():
                    return time.monotonic() - begun
            await asyncio.sleep(poll)
        return None

    async def _describe(self) -> list[PartitionDescription]:
        calls = [protocol.describe(partition_keys) for _, _, partition_keys in _PARTITIONS]
        replies = await self._scripts.call_all(calls)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [protocol.read_describe(reply) for reply in replies]

    async def _describe_group(self, processor: str) -> GroupDescription:
        call = protocol.describe_group(app.processors[processor].group)
        return protocol.read_describe_group(await self._scripts.call(call))


def _lag(described: PartitionDescription) -> int:
    """The consumer group's own count, if it is at the checkpoint, else -1."""
    if described.lag is not None and described.last_delivered == described.checkpoint:
        return described.lag
    return -1
