"""Which events a handler gets is told, and an observer may hold the shortcut up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnel.core.observed_state import ObservedState
from runnel.delivery.observed_queue import ObservedQueue
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.delivery.session import Session
from runnel.observer import PartitionObserver
from runnel.protocol import PartitionKeys, Token
from tests.unit.partition_states import CLAIMED, events


class Notes(PartitionObserver):
    """Notes what it is told; the shortcut may give so many events in a row."""

    def __init__(self, shortcuts: int = 99) -> None:
        self.seen: list[Any] = []
        self.left = shortcuts

    def asked(self, ready: bool) -> None:
        self.seen.append("ready" if ready else "asked")

    def given(self, events: Sequence[Any], limit: int, waiting: int) -> None:
        self.seen.append((len(events), limit, waiting))

    def given_next(self, event: Any) -> None:
        self.left -= 1
        self.seen.append(event[0])

    def may_go_on(self) -> bool:
        return self.left > 0


async def _recorded(state: Any, event: str) -> None: ...


def queue(*observers: PartitionObserver, clock: float = 0.0) -> ObservedQueue:
    state = ObservedState(0, PartitionKeys("p", "work"), 1, Token(7, "n"), CLAIMED)
    state.observers = observers
    request = state.next_read(100)
    assert request
    state.take_in(request, events(1, 2, 3, 4), cursor_exists=True)
    session = Session(lambda: clock)
    session.renew(10.0)
    return ObservedQueue(
        state,
        commit_each=False,
        prefetch=10,
        retries=3,
        session=session,
        start_lock=RecordedStartLock(),
        schedule_commit=lambda state: None,
        wake=lambda state: None,
        record_start=_recorded,
    )


async def test_each_event_is_told_as_it_is_given() -> None:
    notes = Notes()
    it = queue(notes)
    await it.take(1)
    assert it.next() is not None
    await it.take(5)
    assert notes.seen == ["ready", (1, 1, 3), b"2-0", "asked", (2, 5, 0)]


async def test_an_observer_may_want_the_handler_to_ask() -> None:
    notes = Notes(shortcuts=1)
    it = queue(PartitionObserver(), notes)
    await it.take(1)
    assert it.may_go_ahead
    assert it.next() is not None
    assert it.next() is None
    assert not it.may_go_ahead, "nor may a thread have events ahead"


async def test_an_observer_that_fails_holds_nothing_up() -> None:
    class Broken(Notes):
        def may_go_on(self) -> bool:
            raise ValueError

        def given(self, events: Sequence[Any], limit: int, waiting: int) -> None:
            raise ValueError

    it = queue(Broken())
    assert await it.take(1)
    assert it.next() is not None
