"""How many keys tables have, and how many bytes they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from redis.exceptions import NoPermissionError, ResponseError

from runnel import keys
from runnel.connection.deployment import Command
from runnel.preflight.acl import may
from runnel.protocol.scripts import Scripts

#: Commands in one round trip at most, so that Redis serves other clients in between.
PAGE = 500
#: The fields of a table from which Redis estimates its bytes.
SAMPLES = 5


class Size(NamedTuple):
    """The keys of a table on one partition, and the bytes that it takes there. None is unknown: the
    server does not tell it, or does not permit to ask."""

    keys: int | None
    bytes: int | None


async def sizes(scripts: Scripts, parts: Sequence[tuple[str, str]]) -> list[Size]:
    """The size of each part of a table, given by the prefix of its partition and its name.

    Two commands for each part, whose cost does not depend on the number of keys: HLEN, and MEMORY
    USAGE, which looks at `SAMPLES` of them.
    """
    names = [keys.table(prefix, name) for prefix, name in parts]
    if not names:
        return []
    count, usage = ("HLEN", names[0]), ("MEMORY", "USAGE", names[0])
    # Many servers have no MEMORY, or do not permit it.
    permitted = await may(scripts, [count, usage])
    counts = await _ask(scripts, [(each, ("HLEN", each)) for each in names], permitted[count])
    asked: list[Command] = [(each, ("MEMORY", "USAGE", each, "SAMPLES", SAMPLES)) for each in names]
    used = await _ask(scripts, asked, permitted[usage])
    return [Size(*each) for each in zip(counts, used, strict=True)]


async def usage(scripts: Scripts, names: Sequence[str]) -> list[int | None]:
    """The bytes that these keys take, as Redis estimates them: None if it does not tell."""
    permitted = await may(scripts, [("MEMORY", "USAGE", names[0])])
    asked: list[Command] = [(each, ("MEMORY", "USAGE", each, "SAMPLES", SAMPLES)) for each in names]
    return await _ask(scripts, asked, all(permitted.values()))


async def _ask(scripts: Scripts, commands: Sequence[Command], permitted: bool) -> list[int | None]:
    """The numbers that Redis replies with: None where it refuses the command, 0 for no key."""
    if not permitted:
        return [None] * len(commands)
    found: list[int | None] = []
    for at in range(0, len(commands), PAGE):
        for reply in await scripts.deployment.send(commands[at : at + PAGE]):
            if isinstance(reply, (ResponseError, NoPermissionError)):
                found.append(None)  # Such as another program's key of this name.
            elif isinstance(reply, Exception):
                raise reply
            else:
                found.append(int(reply or 0))
    return found
