"""What a thread processes before it stops, and what it keeps of each event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from runnel.core.partition import PartitionState
from runnel.core.table_state import MOST_BYTES, MOST_FIELDS, LentValues
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.delivery.thread_work import TURN, ThreadWork
from tests.unit.known_tables import A, B, Lists
from tests.unit.partition_states import state
from tests.unit.test_own_effects import SINK
from tests.unit.test_partition_tables import partition

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Loop:
    """A loop that lets `most` events begin; each takes `seconds`."""

    def __init__(self, most: int = 10_000, seconds: float = 0.0, others: bool = False) -> None:
        self.now, self.left, self.seconds, self.others = 0.0, most, seconds, others
        self.wakes = 0

    def clock(self) -> float:
        self.now += self.seconds
        return self.now

    def begins(self, now: float) -> bool:
        assert now == self.now
        self.left -= 1
        return self.left >= 0

    def wake(self, now: float) -> None:
        assert now == self.now
        self.wakes += 1

    def others_wait(self) -> bool:
        return self.others


def work(
    it: PartitionState,
    call: Callable[[int], Any],
    *,
    over: Callable[[], bool] | None = None,
) -> ThreadWork:
    """Work that has all events of the buffer; `call` gets their numbers."""
    here = CurrentEvent("log", "work", lambda _: False, lambda: True, it.tables, over=over)
    made = ThreadWork(it, here, lambda raw: int(raw[0].split(b"-")[0]), call, asyncio.iscoroutine)
    made.todo.extend(it.buffer)
    return made


def run(made: ThreadWork, loop: Loop | None = None) -> None:
    made.begin()
    before = CURRENT_EVENT.get()
    made.run(loop or Loop())
    CURRENT_EVENT.set(before)


def seen_tables() -> LentValues:
    """The tables as the event that runs sees them."""
    here = CURRENT_EVENT.get()
    assert here
    assert here.tables
    return here.tables


def emit(entry: bytes = b"mail") -> None:
    here = CURRENT_EVENT.get()
    assert here
    assert here.emit
    here.emit(SINK, [b"f", entry])


def test_it_processes_all_in_order_and_wakes_the_loop_while_others_follow() -> None:
    seen: list[int] = []
    made, loop = work(state(1, 2, 3), seen.append), Loop()
    run(made, loop)
    assert seen == [1, 2, 3]
    assert (made.done, len(made.todo), loop.wakes) == (3, 0, 2)


def test_no_event_begins_that_the_loop_does_not_want_and_it_can_go_on_later() -> None:
    seen: list[int] = []
    made = work(state(1, 2, 3), seen.append)
    run(made, Loop(most=2))
    assert seen == [1, 2]
    assert len(made.todo) == 1
    run(made)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("others", [False, True])
def test_it_lets_others_have_the_thread_after_its_turn(others: bool) -> None:
    made = work(state(*range(1, 11)), lambda number: None)
    run(made, Loop(seconds=TURN / 4, others=others))
    assert made.done == (5 if others else 10)


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(3), StopIteration(), asyncio.CancelledError()]
)
def test_nothing_runs_after_an_event_that_has_failed(error: BaseException) -> None:
    seen: list[int] = []

    def call(number: int) -> None:
        seen.append(number)
        if number == 2:
            raise error

    made = work(state(1, 2, 3), call)
    run(made)
    assert seen == [1, 2]
    assert (made.done, made.error, len(made.todo)) == (1, error, 1)


def test_it_stops_at_an_event_whose_result_only_the_loop_can_run() -> None:
    async def later() -> None: ...

    coroutine = later()
    made = work(state(1, 2, 3), lambda number: coroutine if number == 2 else number)
    run(made)
    assert (made.done, made.result, len(made.todo)) == (1, coroutine, 1)
    coroutine.close()


def test_each_event_has_a_copy_of_the_context() -> None:
    seen: list[str] = []

    def call(number: int) -> None:
        seen.append(WHO.get())
        WHO.set(f"event {number}")

    WHO.set("the handler")
    run(work(state(1, 2), call))
    assert seen == ["the handler", "the handler"]


def test_an_event_sees_what_those_before_it_wrote_and_each_keeps_its_own() -> None:
    it = partition(1, 2, 3)

    def call(number: int) -> None:
        if number != 2:
            tables = seen_tables()
            tables.put(A, b"%d" % (int(tables.get(A) or b"") + number))

    made = work(it, call)
    run(made)
    assert [(number, dict(own.writes)) for number, own in made.effects] == [
        (1, {A: b"1"}),
        (3, {A: b"4"}),
    ]
    assert it.tables
    assert it.tables.get(A) == b"0", "the loop has not finished them"


def test_what_a_failed_event_wrote_is_in_no_effects() -> None:
    it = partition(1, 2)

    def call(number: int) -> None:
        seen_tables().put(B, b"1")
        emit()
        if number == 2:
            raise ValueError

    made = work(it, call)
    run(made)
    assert [number for number, _ in made.effects] == [1]
    assert made.own.closed


def test_a_value_that_was_changed_in_place_is_written_and_one_that_cannot_be_fails() -> None:
    it = partition(1, 2, 3)

    def call(number: int) -> None:
        value: list[Any] = [number]
        seen_tables().lend(A, value, Lists(), b"[%d]" % number)
        if number > 1:
            value.append("bad" if number == 3 else 0)

    made = work(it, call)
    run(made)
    assert [(number, dict(own.writes)) for number, own in made.effects] == [(2, {A: b"[2, 0]"})]
    assert str(made.error) == "bad"
    assert made.done == 2


def test_code_that_an_event_left_running_writes_and_emits_nothing() -> None:
    it, left = partition(1, 2), list[CurrentEvent]()
    over = False

    def call(number: int) -> None:
        here = CURRENT_EVENT.get()
        assert here
        assert here.tables
        assert here.over
        assert not here.over()
        seen_tables().put(A, b"1")
        left.append(here)

    made = work(it, call, over=lambda: over)
    run(made)
    for here in left:
        assert here.tables
        assert here.over
        assert here.over()
        assert here.run != here.tables.run
    assert made.here.over
    assert not made.here.over()
    over = True
    assert made.here.over(), "the handler has ended"


@pytest.mark.parametrize("what", ["entries", "bytes", "fields"])
def test_it_stops_once_the_events_wrote_as_much_as_a_commit_may_hold(what: str) -> None:
    it = partition(*range(1, 600))
    assert it.tables
    for number in range(3000):
        it.tables.learn(("t", b"%d" % number), b"")

    def call(number: int) -> None:
        if what == "entries":
            emit()
        elif what == "bytes":
            seen_tables().put(A, bytes(MOST_BYTES // 4))
        else:
            for key in range(4):
                seen_tables().put(("t", b"%d" % (4 * number + key)), b"x")

    made = work(it, call)
    run(made)
    assert made.done == {"entries": 200, "bytes": 4, "fields": MOST_FIELDS // 4 + 1}[what]
    run(made)
    assert made.done > {"entries": 399, "bytes": 7, "fields": MOST_FIELDS // 2}[what]
