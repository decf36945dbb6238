"""Says again which quarantined partitions a worker holds: nothing else would, as it goes on."""

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

#: Seconds from the start to the first reminder, and between two.
FIRST, EVERY = 5.0, 300.0


async def remind(processor: Processor, states: Callable[[], Iterable[PartitionState]]) -> None:
    """Every few minutes, one line for all partitions that are quarantined, with the way out."""
    pause = FIRST
    while True:
        await asyncio.sleep(pause)
        pause = EVERY
        stuck = sorted(state.partition for state in states() if state.quarantined and state.resting)
        if stuck:
            logger.warning(
                "processor %s: %s %s quarantined, and nothing behind the failed event is "
                "processed: %s",
                processor.name,
                those(stuck),
                "is" if len(stuck) == 1 else "are",
                way_out(processor, stuck),
            )


def way_out(processor: Processor, partitions: Iterable[int], nothing: bool = False) -> str:
    """The command that ends a quarantine. If the handler failed with `nothing` in hand, there is
    no event to set aside."""
    command = f"`runnel processor resume {processor.target} --partition {ranges(partitions)}`"
    if nothing:
        return f"mend the handler and start its workers again, then {command}"
    return f"{command} tries it again, with --skip it is set aside"


def in_the_way(stuck: Iterable[tuple[Processor, int, PartitionDescription]]) -> str:
    """What keeps a burst from its end, processor by processor: partitions as `describe` tells."""
    found: dict[tuple[str, bool, bool], tuple[Processor, list[int]]] = {}
    for processor, partition, picture in stuck:
        nothing = failed_before_first(picture.error_event, picture.checkpoint)
        key = processor.name, picture.quarantined, nothing
        found.setdefault(key, (processor, []))[1].append(partition)
    told = []
    for (name, quarantined, nothing), (processor, numbers) in found.items():
        verb = "is" if len(numbers) == 1 else "are"
        told.append(
            f"processor {name}: {those(numbers)} {verb} quarantined: "
            f"{way_out(processor, numbers, nothing)}"
            if quarantined
            else f"processor {name}: {those(numbers)} {verb} paused: `runnel processor resume "
            f"{processor.target} --partition {ranges(numbers)}` ends it"
        )
    return "; ".join(told)
