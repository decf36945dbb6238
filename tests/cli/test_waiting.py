"""What waits, in the words of `inspect`."""

from __future__ import annotations

from typing import Any

from runnel.cli import waiting
from runnel.operations.figures import PARKED
from tests.cli.reports import partition


def full(stream: str | None, number: int, reason: str = "of mail") -> dict[str, Any]:
    return partition(
        number, waits_for={"stream": stream, "reason": reason, "since_ms": 61_000 + number}
    )


def test_partitions_that_wait_for_the_same_room_have_one_line() -> None:
    found = waiting.for_room([full("alerts", 0), full("alerts", 2), full(PARKED, 3), full(None, 4)])
    assert len(found) == 3
    assert found[0].startswith("partitions 0,2: no room in alerts for ")
    assert "larger partition_size" in found[0]
    assert "larger park_limit" in found[1]
    assert found[2].startswith("partition 4: Redis refuses its commits")


def test_parked_events_have_the_next_command() -> None:
    rows = [partition(0, parked=3, parked_keys=2), partition(1)]
    said, listed, replayed = waiting.parked(rows, "shop:billing")
    assert said == "partition 0: 3 events of 2 keys parked"
    assert listed == "  runnel dead list shop:billing"
    assert replayed.startswith("  runnel dead replay shop:billing")
    assert waiting.parked([partition(1)], "shop:billing") == []


def test_a_delayed_event_is_told_once_it_is_overdue() -> None:
    assert waiting.delayed([partition(0, overdue_ms=100)], "orders") == []
    (said,) = waiting.delayed([partition(0, overdue_ms=9_000)], "orders")
    assert said.startswith("partition 0: delayed events are overdue by 9")
    (lost,) = waiting.delayed([partition(0, delayed_lost=2)], "orders")
    assert "2 delayed events of orders were LOST" in lost


def test_an_outbox_is_told_while_nobody_forwards_it() -> None:
    assert waiting.outboxes([partition(0, outbox=1)]) == []
    (idle,) = waiting.outboxes([partition(0, outbox=1, owner=None)])
    assert "1 emitted entry waits in the outbox until a worker claims" in idle
