"""Counts what a new start of a processor repeats and skips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runnel.operations.figures import lag_of
from runnel.operations.inspection import describe_all
from runnel.operations.log_pages import Range, merged
from runnel.processor import Processor
from runnel.protocol import PartitionDescription
from runnel.protocol.ids import parts
from runnel.protocol.scripts import Scripts


class Effect(NamedTuple):
    """How many events of a partition a new start processes `again`, and how many it has `skipped`
    that the processor has not processed. None if Redis does not know."""

    again: int | None
    skipped: int | None


async def effects(
    scripts: Scripts, processor: Processor, start: str, partitions: Sequence[int]
) -> list[Effect]:
    """What the start does on each of these partitions. `start` is as `seek` takes it. The count
    is that of this moment: workers go on."""
    prefixes = [processor.stream.prefix(number) for number in partitions]
    found = await describe_all(scripts, prefixes, processor.name)
    at_ends = {"0": _to_oldest, "$": _to_newest}
    if start in at_ends:
        return [at_ends[start](each) for each in found]
    ranges: dict[int, Range] = {}
    for number, each in zip(partitions, found, strict=True):
        if each.checkpoint is not None and each.length:
            ranges[number] = _between(each.checkpoint, start)
    counts = dict.fromkeys(partitions, 0)
    async for event in merged(scripts.deployment, processor.stream, ranges):
        counts[event.partition] += 1
    return [
        _counted(each, start, counts[number])
        for number, each in zip(partitions, found, strict=True)
    ]


def _counted(partition: PartitionDescription, start: str, count: int) -> Effect:
    if partition.checkpoint is None:
        return Effect(None, None)
    ahead = parts(partition.checkpoint) < parts(start)
    return Effect(0, count) if ahead else Effect(count, 0)


def _to_oldest(partition: PartitionDescription) -> Effect:
    lag = lag_of(partition)
    return Effect(None if lag is None else max(0, (partition.length or 0) - lag), 0)


def _to_newest(partition: PartitionDescription) -> Effect:
    return Effect(0, lag_of(partition))


def _between(checkpoint: str, start: str) -> Range:
    """The events after the checkpoint and before the start; or from the start on and up to the
    checkpoint, if that comes first."""
    if parts(checkpoint) < parts(start):
        return f"({checkpoint}", f"({start}"
    return start, checkpoint
