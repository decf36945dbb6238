"""Which of the held partitions are claimed again, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from runnel.core.partition import PartitionState
from runnel.protocol import PartitionKeys, Token
from runnel.worker.claims import Claims
from tests.unit.partition_states import CLAIMED, events


def partition(number: int) -> PartitionState:
    """A settled partition."""
    return PartitionState(number, PartitionKeys("p", "work"), 1, Token(7, "n"), CLAIMED)


def claims() -> Claims:
    named, unused = cast("Any", SimpleNamespace(name="work")), cast("Any", None)
    return Claims(named, unused, "member")


def due(it: Claims, states: list[PartitionState]) -> list[int]:
    return [each.partition for each in it.due(states)]


def test_settled_partitions_take_turns() -> None:
    it, states = claims(), [partition(n) for n in range(3)]
    due(it, states)  # Each is due once, because it has not been claimed here yet.
    assert sorted(n for _ in range(3) for n in due(it, states)) == [0, 1, 2]


def test_a_partition_that_has_processed_something_is_due_once_it_is_settled() -> None:
    it, states = claims(), [partition(n) for n in range(10)]
    due(it, states)
    states[7].processed += 1
    assert 7 in due(it, states)
    assert len(due(it, states)) == 1


def test_a_partition_with_an_event_is_not_due() -> None:
    it, busy = claims(), partition(0)
    request = busy.next_read(10)
    assert request
    busy.take_in(request, events(1), cursor_exists=True)
    assert due(it, [busy]) == [0], "no entry is at its cursor, so only a claim tells what is lost"
    busy.loss_suspected = False
    assert due(it, [busy]) == []


def test_a_suspected_loss_is_due_each_time_until_it_is_settled() -> None:
    it, suspected = claims(), partition(0)
    suspected.end()
    suspected.loss_suspected = True
    assert due(it, [suspected]) == due(it, [suspected]) == [0]
