"""Removes a processor: its registration on every partition, and its group."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from runnel import keys, protocol
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

#: Seconds beyond a session timeout in which workers notice that their processor was removed.
_TIME_TO_NOTICE = 3.0


class Removed(NamedTuple):
    """How many `partitions` a processor was registered on, and how many `members` still run it."""

    partitions: int
    members: int


async def remove(scripts: Scripts, processor: Processor) -> Removed:
    """Remove the registration on every partition, with its checkpoint, and delete the group.

    Workers that still run the processor notice it when they claim their partitions again, and
    leave. This waits for them for a session timeout and a little more. If a member is still alive
    then, the keys of the group stay.
    """
    removed = 0
    for p in range(processor.stream.partition_count):
        removed += int(await scripts.call(protocol.remove(processor.keys(p))))
    living = await delete_group(scripts, processor.group, processor.stream.partition_count)
    await scripts.client.hdel(
        keys.processors(processor.app), f"{processor.stream.name}@{processor.name}"
    )
    return Removed(removed, living)


async def delete_group(scripts: Scripts, group: str, partitions: int) -> int:
    """Delete the keys of a group whose processor was removed, once its members have left. Revokes
    their partitions, so that they notice. Returns how many members are left; if there are any, the
    keys stay."""
    loop, until = asyncio.get_running_loop(), None
    while True:
        group_description = protocol.read_describe_group(
            await scripts.call(protocol.describe_group(group))
        )
        living = sum(1 for member in group_description.members if member.left_ms > 0)
        if until is None:
            until = loop.time() + group_description.session_ms / 1000 + _TIME_TO_NOTICE
            numbers = range(partitions) if living else ()
            for at in range(0, len(numbers), 1000):
                await scripts.call(protocol.revoke(group, numbers[at : at + 1000]))
        if not living or loop.time() > until:
            break
        await asyncio.sleep(0.1)
    if not living:
        await scripts.client.unlink(keys.plan(group), keys.members(group), keys.sessions(group))
    return living
