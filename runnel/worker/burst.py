"""Waits until a worker with `--burst` has done what there was to do at its start."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Collection, Sequence

from redis.exceptions import ResponseError

from runnel import protocol
from runnel.errors import BurstBlocked, ProtocolError
from runnel.processor import Processor
from runnel.protocol import PartitionDescription, PartitionKeys
from runnel.protocol.ids import reached
from runnel.protocol.scripts import Scripts
from runnel.worker import outage_log
from runnel.worker.quarantine_reminder import blocking


async def until_committed(
    processors: Sequence[Processor], scripts: Scripts, stop: asyncio.Event, removed: Collection[str]
) -> None:
    """Wait until the group of each processor has committed all events that existed at the
    start, delayed ones that were due included, and what it has emitted for them is forwarded.
    A processor that an operator has `removed` meanwhile is not waited for, and nothing is once
    `stop` is set. Raises BurstBlocked."""
    outage_log.watch("burst")
    all_ = [(each, p) for each in processors for p in range(each.stream.partition_count)]
    partition_keys = [each.keys(p) for each, p in all_]
    first: list[PartitionDescription] | None = None
    #: As soon as what was due at first has entered the logs.
    starts: list[PartitionDescription] | None = None
    #: What the outboxes had when all was committed.
    emitted: list[int] | None = None
    while not stop.is_set():
        if (described := await _describe(scripts, partition_keys)) is not None:
            first = first or described
            if starts is None and not any(map(_was_due, described, first)):
                starts = described
            unfinished = [
                (*each, now)
                for each, now, start in zip(all_, described, starts or described, strict=True)
                if each[0].name not in removed and not _all_committed(now, start)
            ]
            if starts is not None and not unfinished:
                emitted = emitted or [each.outbox_last or 0 for each in described]
                done = (each.outbox_done or 0 for each in described)
                if all(map(operator.ge, done, emitted)):
                    return
            elif unfinished and all(each.quarantined or each.paused for *_, each in unfinished):
                raise BurstBlocked(blocking(unfinished))
        try:
            async with asyncio.timeout(0.1):
                await stop.wait()
        except TimeoutError:
            pass


async def _describe(
    scripts: Scripts, partition_keys: Sequence[PartitionKeys]
) -> list[PartitionDescription] | None:
    """The replies of `describe`, or None if a call failed and must be repeated. Raises refusals."""
    replies = await scripts.call_all([protocol.describe(each) for each in partition_keys])
    for reply in replies:
        if isinstance(reply, (ResponseError, ProtocolError)):
            raise reply
        if isinstance(reply, Exception):
            outage_log.failed("status check", reply)
            return None
    outage_log.answered("status check")
    return [protocol.read_describe(reply) for reply in replies]


def _all_committed(now: PartitionDescription, start: PartitionDescription) -> bool:
    """Are all events committed that existed at the start? The last of them may have left the stream
    since; then it is sufficient that they were counted as lost."""
    if now.replay:
        return False  # There are parked events to be replayed.
    if now.postponed_due is not None and now.postponed_due <= (start.now or 0):
        return False  # A postponed event was due at the start, and is to be tried again.
    if reached(now.checkpoint or "0-0", start.last):
        return True
    counted = (now.read or 0) >= (start.added or 0)
    return counted and (now.next_id is None or not reached(start.last, now.next_id))


def _was_due(now: PartitionDescription, start: PartitionDescription) -> bool:
    """Does a delayed event wait that was due at the start?"""
    return now.delayed_due is not None and now.delayed_due <= (start.now or 0)
