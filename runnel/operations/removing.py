"""Ends the registration of a processor, and forgets its group."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from runnel import keys, protocol
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

#: Seconds beyond a session for which workers that still run a removed processor may find out.
_TO_FIND_OUT = 3.0


class Removed(NamedTuple):
    """On how many `partitions` a processor was registered, and how many `members` still run it."""

    partitions: int
    members: int


async def remove(scripts: Scripts, processor: Processor) -> Removed:
    """End the registration on every partition, with the position, and forget the group.

    Workers that still run it find out when they claim anew, and leave: that is waited for, for a
    session and a little more. The group's keys stay as long as somebody lives by them.
    """
    removed = 0
    for p in range(processor.stream.partition_count):
        removed += int(await scripts.call(protocol.remove(processor.keys(p))))
    living = await forget(scripts, processor.group, processor.stream.partition_count)
    await scripts.client.hdel(
        keys.processors(processor.app), f"{processor.stream.name}@{processor.name}"
    )
    return Removed(removed, living)


async def forget(scripts: Scripts, group: str, partitions: int) -> int:
    """Forget a group whose processor is removed. Its members are made to find out, and it is waited
    until they have left; the answer is how many have not, and then the keys stay."""
    loop, until = asyncio.get_running_loop(), None
    while True:
        group_description = protocol.read_describe_group(
            await scripts.call(protocol.describe_group(group))
        )
        living = sum(1 for member in group_description.members if member.left_ms > 0)
        if until is None:
            until = loop.time() + group_description.session_ms / 1000 + _TO_FIND_OUT
            numbers = range(partitions) if living else ()
            for at in range(0, len(numbers), 1000):
                await scripts.call(protocol.revoke(group, numbers[at : at + 1000]))
        if not living or loop.time() > until:
            break
        await asyncio.sleep(0.1)
    if not living:
        await scripts.client.unlink(keys.plan(group), keys.members(group), keys.sessions(group))
    return living
