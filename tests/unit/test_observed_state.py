"""What becomes of events is told once, and only when it is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnel.core.observed_state import ObservedState
from runnel.observer import PartitionObserver
from runnel.protocol import PartitionKeys, Token
from tests.unit.partition_states import CLAIMED, events


class Notes(PartitionObserver):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def finished(self, events: Sequence[Any]) -> None:
        self.seen.append([each[0] for each in events])

    def committing(self, checkpoint: str, count: int) -> None:
        self.seen.append(f"commit {count} to {checkpoint}")

    def committed(self, checkpoint: str, count: int) -> None:
        self.seen.append(f"committed {count}")

    def closed(self) -> None:
        self.seen.append("closed")


def observed() -> tuple[ObservedState, Notes]:
    state, notes = ObservedState(0, PartitionKeys("p", "work"), 1, Token(7, "n"), CLAIMED), Notes()
    state.observers = [notes]
    request = state.next_read(100)
    assert request
    state.take_in(request, events(1, 2, 3), cursor_exists=True)
    state.verified("0-0", True)
    return state, notes


def test_events_are_finished_and_committed() -> None:
    state, notes = observed()
    state.hand_out(2)
    state.finish(1)
    state.finish()
    move = state.next_commit()
    assert move
    for _ in range(2):  # The reply to the first was lost.
        state.commit_call(move)
    for _ in range(2):
        state.committed(move)
    state.end()
    assert notes.seen == [
        *([b"1-0"], [b"2-0"], "commit 2 to 2-0", "commit 2 to 2-0"),
        *("committed 2", "closed"),
    ]


def test_events_that_are_given_up_or_refused_are_not_finished() -> None:
    state, notes = observed()
    state.hand_out(1)
    state.skipped(state.next_skip())
    state.hand_out(1)
    state.rewind()
    state.finish()
    state.hand_out(1)
    state.refuse(ValueError("not allowed"))
    state.finish()
    assert notes.seen == []
