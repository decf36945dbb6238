"""Removes a processor: its registration on every partition, and its group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from runnel import keys, protocol
from runnel.errors import Unforwarded
from runnel.operations.figures import lag_of, total
from runnel.operations.inspection import describe_all
from runnel.processor import Processor
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec

#: Seconds beyond a session timeout in which workers notice that their processor was removed.
_TIME_TO_NOTICE = 3.0
#: Seconds in which a worker that runs forwards what was emitted.
_TIME_TO_FORWARD = 2.0


class Removed(NamedTuple):
    """How many `partitions` a processor was registered on, and how many `members` still run it."""

    partitions: int
    members: int


async def parked_events(
    scripts: Scripts, spec: StreamSpec[Any], processor: str | None = None
) -> int:
    """How many events of a stream a processor has parked, or all its registered processors: to
    remove it, or them, deletes these events."""
    prefixes = [spec.prefix(number) for number in range(spec.partition_count)]
    names = [(each, [processor] if processor else []) for each in prefixes]
    if processor is None:
        metas = [keys.meta(each) for each in prefixes]
        found = await scripts.deployment.ask([(each, ("HKEYS", each)) for each in metas])
        for (_, several), fields in zip(names, found, strict=True):
            texts = [protocol.text(each) for each in fields]
            several += [each[11:] for each in texts if each.startswith("checkpoint:")]
    logs = [keys.parked(prefix, name) for prefix, several in names for name in several]
    return sum(map(int, await scripts.deployment.ask([(each, ("XLEN", each)) for each in logs])))


async def unprocessed_events(scripts: Scripts, processor: Processor) -> int | None:
    """How many events a processor has not yet processed, where it is registered; None if Redis does
    not know."""
    prefixes = [processor.stream.prefix(p) for p in range(processor.stream.partition_count)]
    found = await describe_all(scripts, prefixes, processor.name)
    return total(lag_of(each) for each in found if each.checkpoint is not None)


async def remove(scripts: Scripts, processor: Processor) -> Removed:
    """Remove the registration on every partition, with its checkpoint, and delete the group.

    Workers that still run the processor notice it when they claim their partitions again, and
    leave. This waits for them for a session timeout and a little more. If a member is still alive
    then, the keys of the group stay.

    Raises Unforwarded, and removes nothing, while entries that it has emitted wait in an outbox.
    """
    partitions = [processor.keys(p) for p in range(processor.stream.partition_count)]
    await check_forwarded(scripts, partitions)
    removed = await remove_registrations(scripts, partitions)
    living = await delete_group(scripts, processor.group, processor.stream.partition_count)
    await scripts.client.hdel(
        keys.processors(processor.app), f"{processor.stream.name}@{processor.name}"
    )
    return Removed(removed, living)


async def check_forwarded(scripts: Scripts, partitions: Sequence[PartitionKeys]) -> None:
    """Raise Unforwarded if emitted entries wait in an outbox. Gives workers a moment for them."""

    async def check() -> None:
        commands = [(each.outbox, ("XLEN", each.outbox)) for each in partitions]
        replies = await scripts.deployment.ask(commands)
        for each, reply in zip(partitions, replies, strict=True):
            if reply:
                details = {"waiting": str(reply), "outbox": each.outbox}
                raise Unforwarded(f"UNFORWARDED waiting={reply}", details)

    await _once_forwarded(check)


async def remove_registrations(scripts: Scripts, partitions: Sequence[PartitionKeys]) -> int:
    """Remove the registration on these partitions. Returns how many there were."""
    removed = 0
    for each in partitions:
        removed += int(await _once_forwarded(lambda: scripts.call(protocol.remove(each))))  # noqa: B023
    return removed


async def _once_forwarded(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call while it raises Unforwarded, for a moment: a worker may be forwarding."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _TIME_TO_FORWARD
    while True:
        try:
            return await call()
        except Unforwarded:
            if loop.time() > until:
                raise
        await asyncio.sleep(0.05)


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
