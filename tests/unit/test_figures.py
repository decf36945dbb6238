"""States and figures of `inspect`, from descriptions alone."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.operations.figures import failed_before_first, largest, partitions, state_of, total
from runnel.protocol import Assignment, GroupDescription, Member, PartitionDescription


def group(*members: Member, assignments: tuple[Assignment, ...] = ()) -> GroupDescription:
    return GroupDescription(1_000, 1, 10_000, members, assignments)


def row(assignments: tuple[Assignment, ...] = (), **fields: Any) -> dict[str, Any]:
    """The row of a partition whose last owner `w1` is alive."""
    alive = Member("w1", 9_000, 1, 0, "stay", "")
    description = PartitionDescription(**{"now": 100_000, **fields})
    (found,) = partitions([description], group(alive, assignments=assignments))
    return found


def test_an_unknown_value_makes_a_total_unknown() -> None:
    assert total([1, 2]) == 3
    assert total([]) == 0
    assert total([1, None]) is None
    assert largest([1, 2]) == 2
    assert largest([]) == 0
    assert largest([1, None]) is None


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "unassigned"),
        ({"owner": "w1"}, "owned"),
        ({"owner": "w1", "released": True}, "unassigned"),
        ({"owner": "w2"}, "unassigned"),
        ({"owner": "w1", "paused": True}, "paused"),
        ({"owner": "w1", "paused": True, "quarantined": True}, "quarantined"),
    ],
)
def test_the_state_of_a_partition(fields: dict[str, Any], state: str) -> None:
    assert row(**fields)["state"] == state


def test_a_partition_with_another_target_is_moving() -> None:
    assert row((Assignment(0, "w1", "w2", 1),), owner="w1")["state"] == "moving"
    assert row((Assignment(0, "w1", "w1", 1),), owner="w1")["state"] == "owned"


def test_the_lag_is_that_of_the_consumer_group_if_it_is_at_the_checkpoint() -> None:
    assert row(checkpoint="5-0", last_delivered="5-0", lag=3, next_id="6-0")["lag_events"] == 3
    assert row(checkpoint="5-0", last_delivered="4-0", lag=3, next_id="6-0")["lag_events"] is None
    assert row(checkpoint="5-0", last="5-0")["lag_events"] == 0
    assert row()["lag_events"] is None


def test_a_processor_without_a_live_member_is_down() -> None:
    processor = {"partitions": [row(owner="w1")], "dead_letters": None}
    dead = Member("w1", -1, 1, 0, "stay", "")
    assert state_of(processor, group(dead), 60_000) == "down"
    assert state_of(processor, group(Member("w1", 1, 1, 0, "stay", "")), 60_000) == "ok"


def test_a_failure_before_the_first_event_is_stored_with_the_checkpoint() -> None:
    assert failed_before_first("5-0", "5-0")
    assert not failed_before_first("6-0", "5-0")
    assert not failed_before_first(None, None)
