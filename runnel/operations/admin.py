"""Administers processors and streams. All functions are safe while workers run."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from runnel import keys, protocol
from runnel.dead_letter import DeadLetter
from runnel.errors import BadArgument, ConfigError
from runnel.operations import removing, skipping
from runnel.operations.snapshot_parts import forget, hashes, part_of
from runnel.processor import Processor, refused
from runnel.protocol import PartitionKeys, SnapshotKeys
from runnel.protocol.ids import ENDS, parts
from runnel.protocol.scripts import Call, Scripts
from runnel.stream import StreamSpec

#: An event's id. A shorter number is a year, or a date without dashes.
_ID = re.compile(r"[0-9]{9,20}(-[0-9]{1,20})?")


def start_id(text: str, until: datetime | None = None) -> str:
    """The first event to be processed, as `seek` takes it. `text` is ``earliest`` (or ``0``),
    ``latest`` (or ``$``), an id, or an ISO time (UTC if it has no zone), no later than `until`.
    Raises ConfigError for anything else."""
    text = ENDS.get(text, text)
    if text in ENDS.values():
        return text
    if _ID.fullmatch(text) and max(parts(text)) < 1 << 64:
        return text if "-" in text else f"{text}-0"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--start {text!r} is none of: earliest (or 0), latest (or $, the next new event), an "
            "event's id such as 1795435471123-0, a time such as 2026-11-24T03:00:00Z"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if until is not None and moment > until:
        raise ConfigError(f"--start {text!r} is in the future: for the next new event, give latest")
    if (ms := int(moment.timestamp() * 1000)) <= 0:
        return "0"  # Ids start in 1970.
    return f"{ms}-0"


async def add(scripts: Scripts, processor: Processor) -> None:
    """Register the processor on every partition: retention then keeps the events that it has not
    committed."""
    spec = processor.stream
    for p in range(spec.partition_count):
        call = protocol.register(processor.keys(p), spec.contract, processor.start)
        try:
            await scripts.call(call)
        except BadArgument as error:
            raise refused(processor, error) from None


async def reset(
    scripts: Scripts,
    processor: Processor,
    start: str,
    partitions: Iterable[int] | None = None,
    tables: Sequence[str] = (),
) -> list[str]:
    """Set the checkpoints of these partitions, or of all, and empty these tables there. Running
    workers are fenced and claim them again.

    The checkpoint of a partition and its tables change together. Returns the new checkpoints.
    """
    found: dict[int, str] = {}
    try:
        for p in _numbers(processor, partitions):
            found[p] = await _seek(scripts, processor.keys(p), start, tables)
    finally:  # Also after an error: partitions that were set before it must be claimed again.
        await revoke(scripts, processor, found)
    return list(found.values())


async def _seek(
    scripts: Scripts, partition_keys: PartitionKeys, start: str, tables: Sequence[str]
) -> str:
    nonce = secrets.token_hex(16)
    try:
        reply = await scripts.call(protocol.seek(partition_keys, start, None, nonce, tables))
    except BadArgument as error:
        if error.details.get("field") != "read":
            raise
        read = await _ordinal(scripts, partition_keys, start)
        reply = await scripts.call(protocol.seek(partition_keys, start, read, nonce, tables))
    return protocol.read_seek(reply).checkpoint


async def _ordinal(scripts: Scripts, partition_keys: PartitionKeys, start: str) -> int:
    """The number of entries ever added before `start`. It counts in pages, to not block Redis."""
    log = partition_keys.log
    info = await scripts.client.xinfo_stream(log)
    last, added, at, behind = info["last-generated-id"], int(info["entries-added"]), start, 0
    while page := await scripts.client.xrange(log, at, last, count=1000):
        behind += len(page)
        ms, sequence = parts(protocol.text(page[-1][0]))
        at = f"{ms}-{sequence + 1}"
    return added - behind


async def pause(
    scripts: Scripts, processor: Processor, partitions: Iterable[int] | None = None
) -> int:
    """Pause these partitions, or all, after their current events. Returns how many were not paused
    before."""
    return await _each(scripts, processor, protocol.pause, _numbers(processor, partitions))


async def resume(
    scripts: Scripts, processor: Processor, partitions: Iterable[int] | None = None
) -> int:
    """Resume these partitions, or all, from a pause or quarantine. Returns how many it resumed."""
    return await _each(scripts, processor, protocol.resume, _numbers(processor, partitions))


async def acknowledge(
    scripts: Scripts, processor: Processor, partitions: Iterable[int] | None = None
) -> int:
    """Note that an operator has dealt with the events that are lost by now on these partitions, or
    on all. Returns how many were not acknowledged before."""
    acknowledged = 0
    for p in _numbers(processor, partitions):
        partition_keys = processor.keys(p)
        found = protocol.read_describe(await scripts.call(protocol.describe(partition_keys)))
        lost = (found.lost or 0) - found.dropped.get(processor.name, 0)
        if lost > 0:
            reply = await scripts.call(protocol.acknowledge(partition_keys, lost))
            acknowledged += int(reply)
    return acknowledged


def _numbers(processor: Processor, partitions: Iterable[int] | None) -> list[int]:
    everything = range(processor.stream.partition_count)
    return sorted(set(everything if partitions is None else partitions))


async def _each(
    scripts: Scripts,
    processor: Processor,
    make: Callable[[PartitionKeys], Call],
    partitions: Iterable[int],
) -> int:
    """Call a script for each partition, and revoke those that it changed. Returns their number."""
    changed: list[int] = []
    try:
        for p in partitions:
            if await scripts.call(make(processor.keys(p))):
                changed.append(p)  # noqa: PERF401 - the partitions before an error count, too.
    finally:
        await revoke(scripts, processor, changed)
    return len(changed)


async def skip(
    scripts: Scripts,
    processor: Processor,
    partition: int,
    sink: StreamSpec[DeadLetter] | None = None,
) -> str | None:
    """Skip the event that a partition has failed on. It becomes a dead letter in `sink`, by default
    the processor's own. Returns its id, or None if there is no such event. See `skipping.skip`."""
    chosen = replace(processor, sink=sink or processor.sink)
    return (await skipping.skip(scripts, chosen, partition, named=True)).event


async def remove(scripts: Scripts, processor: Processor) -> int:
    """Remove the registration and the group. Returns how many partitions it was registered on. See
    `removing.remove`."""
    return (await removing.remove(scripts, processor)).partitions


async def delete_stream(scripts: Scripts, spec: StreamSpec[Any]) -> int:
    """Delete a stream with all its events, its processors' checkpoints, tables with their
    snapshots, and groups.

    Workers that still run one of its processors notice it, and end it as if it was removed. This
    waits for them for a session timeout and a little more. Returns the number of events.

    Raises Unforwarded, and deletes nothing, while entries that one of its processors has emitted
    wait in an outbox.
    """
    client, deleted, processors = scripts.client, 0, set[str]()
    prefixes = [spec.prefix(p) for p in range(spec.partition_count)]

    async def named(prefix: str, kind: str) -> list[str]:
        """What meta names: the registered processors, or the tables."""
        fields = [protocol.text(each) for each in await client.hkeys(keys.meta(prefix))]
        return [each.removeprefix(kind) for each in fields if each.startswith(kind)]

    async def registered(prefix: str) -> list[PartitionKeys]:
        return [PartitionKeys(prefix, name) for name in await named(prefix, "checkpoint:")]

    await removing.check_forwarded(
        scripts, [found for prefix in prefixes for found in await registered(prefix)]
    )
    for prefix in prefixes:
        found = await registered(prefix)
        processors.update(each.processor for each in found)
        await removing.remove_registrations(scripts, found)
        for snapshot in await named(prefix, "snapshot:"):
            name, _, of = snapshot.partition(":")
            at = SnapshotKeys(PartitionKeys(prefix, of), name)
            (record,) = await hashes(scripts, [at.record])
            await forget(scripts, at, part_of(record).tables)
        tables = await named(prefix, "table:")
        deleted += int(await scripts.call(protocol.delete(prefix, tables)))
    await client.hdel(keys.streams(spec.app), spec.name)
    for name in processors:
        group = keys.group(spec.app, spec.name, name)
        await removing.delete_group(scripts, group, spec.partition_count)
        await client.hdel(keys.processors(spec.app), f"{spec.name}@{name}")
    return deleted


async def revoke(
    scripts: Scripts, processor: Processor, partitions: Iterable[int] | None = None
) -> None:
    """Make the owners of these partitions, or of all, claim them again."""
    numbers = _numbers(processor, partitions)
    for at in range(0, len(numbers), 1000):
        await scripts.call(protocol.revoke(processor.group, numbers[at : at + 1000]))
