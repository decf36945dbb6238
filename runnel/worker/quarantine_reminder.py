"""Logs every few minutes which quarantined partitions a worker holds: it continues with the others,
so the first line would soon be forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from runnel.core.partition import PartitionState
from runnel.log import logger_of
from runnel.operations.figures import failed_before_first
from runnel.operations.partition_ranges import ranges, those
from runnel.processor import Processor
from runnel.protocol import PartitionDescription

logger = logger_of("runnel.worker")

#: Seconds from the start to the first reminder, and between two reminders.
FIRST, EVERY = 5.0, 300.0


async def remind(processor: Processor, states: Callable[[], Iterable[PartitionState]]) -> None:
    """Log one line for all quarantined partitions every few minutes, with the command that resumes
    them."""
    pause = FIRST
    while True:
        await asyncio.sleep(pause)
        pause = EVERY
        quarantined = sorted(
            state.partition for state in states() if state.quarantined and state.held_stopped
        )
        if quarantined:
            logger.warning(
                "processor %s: %s %s quarantined, and nothing after the failed event is "
                "processed: %s",
                processor.name,
                those(quarantined),
                "is" if len(quarantined) == 1 else "are",
                way_out(processor, quarantined),
                extra={"partitions": quarantined},
            )


def way_out(processor: Processor, partitions: Iterable[int], no_event: bool = False) -> str:
    """The command that ends a quarantine. With `no_event`, the handler failed before its first
    event, so there is none to skip."""
    command = f"`runnel processor resume {processor.target} --partition {ranges(partitions)}`"
    if no_event:
        return f"fix the handler and start its workers again, then {command}"
    return f"{command} tries it again, and with --skip skips it"


def blocking(partitions: Iterable[tuple[Processor, int, PartitionDescription]]) -> str:
    """Why a burst cannot end, processor by processor. Each partition comes with the reply of
    `describe`."""
    found: dict[tuple[str, bool, bool], tuple[Processor, list[int]]] = {}
    for processor, partition, described in partitions:
        no_event = failed_before_first(described.error_event, described.checkpoint)
        key = processor.name, described.quarantined, no_event
        found.setdefault(key, (processor, []))[1].append(partition)
    reasons = []
    for (name, quarantined, no_event), (processor, numbers) in found.items():
        verb = "is" if len(numbers) == 1 else "are"
        reasons.append(
            f"processor {name}: {those(numbers)} {verb} quarantined: "
            f"{way_out(processor, numbers, no_event)}"
            if quarantined
            else f"processor {name}: {those(numbers)} {verb} paused: `runnel processor resume "
            f"{processor.target} --partition {ranges(numbers)}` ends it"
        )
    return "; ".join(reasons)
