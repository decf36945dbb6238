"""Takes snapshots of the tables of a processor, and goes back to them.

Tables may be large, so they are copied in pages, beside what is in use. A snapshot is taken, and
put in place, on one partition after the other, each at one instant of its own.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.errors import BadArgument, ConfigError, Missing, RunnelError
from runnel.operations import admin
from runnel.operations.snapshot_parts import Part, Snapshot, forget, hashes, part_of, tables_in
from runnel.processor import Processor
from runnel.protocol import SnapshotKeys
from runnel.protocol.scripts import Scripts

#: Fields of the first page, and the bytes that each page should have.
FIRST_PAGE, PAGE_BYTES = 100, 1_000_000
#: Seconds in which a paused partition must come to rest, and the pause before it is tried again.
REST, PAUSE = 60.0, 0.2
#: How often it is tried to resume a partition, and the seconds in between.
RESUMES, RESUME_PAUSE = 10, 1.0


# Take


async def take(
    scripts: Scripts, processor: Processor, name: str
) -> AsyncIterator[tuple[int, Part, bool]]:
    """Take a snapshot. Yields each partition when its part is complete, and whether the processor
    was paused there meanwhile.

    A partition on which nothing is committed is not paused. Whatever happens, even if this is
    cancelled, none stays paused that was not paused before. Raises ConfigError if a partition does
    not come to rest.
    """
    keys.check_name("snapshot", name)
    for number in range(processor.stream.partition_count):
        at = SnapshotKeys(processor.keys(number), name)
        (before,) = await hashes(scripts, [at.record])
        if before:  # It may have tables that the processor does not write any more.
            await forget(scripts, at, part_of(before).tables)
        paused = not await _taken(scripts, at)
        if paused:
            await _take_paused(scripts, processor, number, at)
        (record,) = await hashes(scripts, [at.record])
        yield number, part_of(record), paused


async def _taken(scripts: Scripts, at: SnapshotKeys) -> bool:
    """Copy the tables of a partition. Returns False if they have changed meanwhile."""
    (meta,) = await hashes(scripts, [at.of.meta])
    tables = tables_in(meta, at.of.processor)
    id_ = secrets.token_hex(16)
    try:
        await scripts.call(protocol.snapshot(at, tables, "begin", id_))
        for table in tables:
            await _copy(scripts, at, at.taken(table), id_)
        reply = await scripts.call(protocol.snapshot(at, tables, "finish", id_))
    except Missing as error:
        if "snapshot" not in error.details:
            raise
        raise RunnelError(
            f"the snapshot {at.name} was deleted meanwhile, or somebody else takes it, too: run "
            "this again"
        ) from error
    except BadArgument as error:
        if "snapshots" in error.details:
            raise ConfigError(
                f"processor {at.of.processor} has {error.details['snapshots']} snapshots, and "
                f"{error.details['limit']} are the most there may be: delete one"
            ) from None
        if error.details.get("field") != "tables":
            raise
        return False  # A table was written for the first time.
    return protocol.read_snapshot(reply).whole


async def _take_paused(
    scripts: Scripts, processor: Processor, number: int, at: SnapshotKeys
) -> None:
    """Copy the tables of a partition while the processor is paused there."""
    described = protocol.read_describe(await scripts.call(protocol.describe(at.of)))
    loop, until = asyncio.get_running_loop(), None
    try:
        if not described.paused:
            await admin.pause(scripts, processor, [number])
        until = loop.time() + REST
        while not await _taken(scripts, at):
            if loop.time() > until:
                raise ConfigError(
                    f"partition {number} of {processor.name} has not come to rest in {REST:g} s "
                    "after it was paused: its worker still has an event or a batch in hand. Take "
                    "the snapshot later, or stop the workers"
                )
            await asyncio.sleep(PAUSE)
    finally:
        if not described.paused:
            await _resume(scripts, processor, number)


async def _resume(scripts: Scripts, processor: Processor, number: int) -> None:
    """Resume a partition, also if Redis is away for a moment."""
    for tries_left in reversed(range(RESUMES)):
        try:
            await admin.resume(scripts, processor, [number])
            return
        except (RedisError, OSError) as error:
            if not tries_left:
                raise RunnelError(
                    f"partition {number} of {processor.name} is still paused, because Redis does "
                    f"not answer: `runnel processor resume {processor.target} --partition "
                    f"{number}`"
                ) from error
            await asyncio.sleep(RESUME_PAUSE)


async def _copy(
    scripts: Scripts, at: SnapshotKeys, copied: Sequence[str], id_: str, shift: int = 0
) -> None:
    """Copy a table page by page, each of about `PAGE_BYTES`."""
    cursor, count = "0", FIRST_PAGE
    while True:
        call = protocol.copy_table(at, copied, id_, cursor, count, shift)
        page = protocol.read_copy_table(await scripts.call(call))
        cursor = page.cursor
        if cursor == "0":
            return
        if page.fields:
            count = max(1, min(1000, page.fields * PAGE_BYTES // max(1, page.bytes), 2 * count))


# Restore


@dataclass(frozen=True)
class Return:
    """What it means to go back to a snapshot on one partition: how many events are processed
    again, and how many of those are missing in the log."""

    number: int
    part: Part
    again: int
    lost: int


async def returns_of(scripts: Scripts, processor: Processor, snapshot: Snapshot) -> list[Return]:
    """What `restore` would do on each partition. Raises ConfigError if the snapshot is not complete
    on all of them."""
    if not snapshot.complete(processor):
        whole = sum(each.at_ms is not None for each in snapshot.parts.values())
        raise ConfigError(
            f"snapshot {snapshot.name} of {processor.name} is complete on {whole} of "
            f"{processor.stream.partition_count} partitions: it was interrupted. Delete it"
        )
    found = []
    parts = sorted(snapshot.parts.items())
    calls = [protocol.describe(processor.keys(number)) for number, _ in parts]
    for (number, part), reply in zip(parts, await scripts.call_all(calls), strict=True):
        if isinstance(reply, Exception):
            raise reply
        seen = protocol.read_describe(reply)
        added, length = seen.added or 0, seen.length or 0
        lost = max(0, added - length - part.read)
        found.append(Return(number, part, max(0, (seen.read or 0) - part.read), lost))
    return found


async def restore(
    scripts: Scripts, processor: Processor, name: str, returns: Sequence[Return]
) -> AsyncIterator[tuple[int, str]]:
    """Put the tables and the checkpoint of each partition in place. Yields it, with the checkpoint,
    when that is done.

    Running workers are fenced and claim the partitions again. If this ends before its end, some
    partitions are as they were and the others are done: to repeat it is safe. As many events may be
    missing as the returns say. Raises Missing if it is more, or if the snapshot is gone.
    """
    done: list[int] = []
    try:
        for each in returns:
            at = SnapshotKeys(processor.keys(each.number), name)
            checkpoint = await _restored(scripts, at, each)
            done.append(each.number)
            yield each.number, checkpoint
    finally:  # Also after an error: owners of what was done must claim it again.
        if done:
            await admin.revoke(scripts, processor, done)


async def _restored(scripts: Scripts, at: SnapshotKeys, wanted: Return) -> str:
    part, client = wanted.part, scripts.deployment.client_for(at.record)
    (time,) = await client.roundtrip([("TIME",)])
    if isinstance(time, Exception):
        raise time
    now = int(time[0]) * 1000 + int(time[1]) // 1000
    shift = max(0, now - (part.at_ms or now))
    for table in part.tables:
        await _copy(scripts, at, at.restored(table), part.id, shift)
    nonce = secrets.token_hex(16)
    while True:
        (meta,) = await hashes(scripts, [at.of.meta])
        tables = tables_in(meta, at.of.processor)
        call = protocol.restore(at, sorted({*tables, *part.tables}), part.id, wanted.lost, nonce)
        try:
            return protocol.read_seek(await scripts.call(call)).checkpoint
        except Missing as error:
            if {"lost", "last", "snapshot"} & error.details.keys():
                raise RunnelError(f"partition {wanted.number}: {_why(at, error)}") from error
            raise
        except BadArgument as error:
            if "incomplete" in error.details:
                raise RunnelError(
                    f"partition {wanted.number}: the copy of the table "
                    f"{error.details['incomplete']} was changed meanwhile: does somebody else "
                    "restore it, too? Run this again"
                ) from error
            if error.details.get("missing") in (None, *tables):
                raise
            # The processor has written a table for the first time since.


def _why(at: SnapshotKeys, error: Missing) -> str:
    if "lost" in error.details:
        return f"{error.details['lost']} events after the checkpoint have left the log meanwhile"
    if "last" in error.details:
        return f"its log ends at {error.details['last']}, before the checkpoint of the snapshot"
    return f"the snapshot {at.name} was deleted, or is being taken again"
