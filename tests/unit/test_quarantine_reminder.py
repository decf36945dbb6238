"""Every line about a quarantined or paused partition has the command to type next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from runnel.protocol import PartitionDescription
from runnel.worker.quarantine_reminder import blocking, way_out


@dataclass
class Named:
    """The attributes of a processor that the lines use."""

    name: str = "work"
    target: str = "shop:work"


PROCESSOR = cast("Any", Named())


def test_a_quarantine_ends_with_resume() -> None:
    command = "`runnel processor resume shop:work --partition 0-1,4`"
    text = way_out(PROCESSOR, [0, 1, 4])
    assert text == f"{command} tries it again, and with --skip skips it"
    assert way_out(PROCESSOR, [0, 1, 4], no_event=True) == (
        f"fix the handler and start its workers again, then {command}"
    )


def test_partitions_that_block_a_burst_are_grouped_by_their_reason() -> None:
    quarantined = PartitionDescription(quarantined=True, error_event="5-0", checkpoint="4-0")
    before_first = PartitionDescription(quarantined=True, error_event="4-0", checkpoint="4-0")
    paused = PartitionDescription(paused=True)
    described = [quarantined, paused, quarantined, before_first]
    text = blocking((PROCESSOR, n, each) for n, each in enumerate(described))
    first, second, third = text.split("; ")
    assert first.startswith("processor work: partitions 0,2 are quarantined: `runnel")
    assert second == (
        "processor work: partition 1 is paused: `runnel processor resume shop:work --partition 1` "
        "ends it"
    )
    assert third.startswith("processor work: partition 3 is quarantined: fix the handler")
