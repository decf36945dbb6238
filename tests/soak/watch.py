"""A look from outside, straight at Redis: who holds what, and how far it is."""

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
from runnel.protocol import GroupDescription
from runnel.protocol.scripts import Scripts
from tests.soak.app import PARTITIONS, app, entries
from tests.soak.history import Id, Look, parse_id

PROCESSORS = tuple(app.processors)
_PLACES = [
    (name, partition, app.processors[name].keys(partition))
    for name in PROCESSORS
    for partition in range(PARTITIONS)
]


class Watch:
    """Looks at every partition now and then, and keeps what it saw."""

    def __init__(self, url: str) -> None:
        self._client = connect(url, 2.0)
        self._scripts = Scripts(self._client)
        self.looks: list[Look] = []

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
        """Every processor on every partition, each in one instant."""
        pictures = await self._describe()
        looks = [
            Look(
                processor,
                partition,
                int(picture.get("epoch", "0")),
                parse_id(picture.get("checkpoint", "0-0")),
                int(picture.get("processed", "0")),
                int(picture.get("lost", "0")),
                int(picture.get("added", "0")),
                _lag(picture),
            )
            for (processor, partition, _), picture in zip(_PLACES, pictures, strict=True)
        ]
        self.looks += looks
        return looks

    async def owners(self) -> dict[str, list[str | None]]:
        """For each processor, who holds each partition: members that live under a token that is
        not released, or nobody."""
        pictures = iter(await self._describe())
        found: dict[str, list[str | None]] = {}
        for name in PROCESSORS:
            group_description = await self._describe_group(name)
            living = {each.id for each in group_description.members if each.left_ms > 0}
            rows = [next(pictures) for _ in range(PARTITIONS)]
            found[name] = [
                row["owner"] if row.get("released") == "0" and row.get("owner") in living else None
                for row in rows
            ]
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
        """Is there nothing behind any checkpoint?"""
        return all(each.lag == 0 for each in await self.look())

    async def logs(self) -> dict[int, list[Id]]:
        """For each partition, the ids in its log."""
        found = {}
        for partition in range(PARTITIONS):
            log = keys.log(entries.spec.prefix(partition))
            there: Any = await self._client.xrange(log)
            found[partition] = [parse_id(id_.decode()) for id_, _ in there]
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

    async def _describe(self) -> list[dict[str, str]]:
        replies = await self._scripts.call_all(
            [protocol.describe(place) for _, _, place in _PLACES]
        )
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [protocol.read_describe(reply) for reply in replies]

    async def _describe_group(self, processor: str) -> GroupDescription:
        call = protocol.describe_group(app.processors[processor].group)
        return protocol.read_describe_group(await self._scripts.call(call))


def _lag(picture: dict[str, str]) -> int:
    """The consumer group's own count, if it stands at the checkpoint."""
    if "lag" in picture and picture.get("last_delivered") == picture.get("checkpoint"):
        return int(picture["lag"])
    return -1
