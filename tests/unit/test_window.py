"""Which of the events in hand may start, and which are finished."""

from __future__ import annotations

from runnel.core.own_effects import OwnEffects
from runnel.core.window import MOST_AHEAD, InHand, Stage, Window
from tests.unit.known_tables import A
from tests.unit.partition_states import events
from tests.unit.test_partition_tables import partition


def window(keys: str, concurrency: int = 10, prefetch: int = 10) -> tuple[Window, list[InHand]]:
    """A window with an event of each of these keys."""
    made = Window(concurrency, prefetch)
    raws = events(*range(1, len(keys) + 1))
    return made, [made.add(raw, key.encode()) for raw, key in zip(raws, keys, strict=True)]


def start_all(it: Window) -> list[int]:
    """Start what may start. Returns the numbers of the events."""
    found = []
    while item := it.start():
        found.append(item.number)
    return found


def numbers(items: list[InHand]) -> list[int]:
    return [each.number for each in items]


def test_what_is_done_behind_an_event_that_is_not_is_finished_ahead() -> None:
    it, (_, b, c) = window("abc")
    start_all(it)
    it.done(b)
    it.done(c)
    assert it.finished() == []
    assert (len(it), it.finished_ahead) == (3, 2)


def test_one_event_of_each_key_may_start_and_the_next_when_it_is_done() -> None:
    it, (a1, _, b1, a3) = window("aaba")
    assert start_all(it) == [1, 3]
    assert it.running == 2
    it.done(b1)
    assert start_all(it) == []
    it.done(a1)
    assert start_all(it) == [2]
    assert a3.stage is Stage.WAITING


def test_no_more_run_than_may() -> None:
    it, (first, *_) = window("abcd", concurrency=2)
    assert start_all(it) == [1, 2]
    assert not it.may_start
    it.done(first)
    assert it.may_start
    assert start_all(it) == [3]


def test_the_first_in_the_log_starts_first() -> None:
    it, (a1, b1, *_) = window("abcdab", concurrency=2)
    start_all(it)
    it.done(b1)
    it.done(a1)
    assert start_all(it) == [3, 4]
    for item in list(it._events)[2:4]:
        it.done(item)
    assert start_all(it) == [5, 6]


def test_the_finished_prefix_ends_at_the_first_event_that_is_not_done() -> None:
    it, items = window("abcd")
    start_all(it)
    for number in (1, 3):
        it.done(items[number])
    assert it.finished() == []
    it.done(items[0])
    assert numbers(it.finished()) == [1, 2]
    assert it.first is items[2]
    it.done(items[2])
    assert numbers(it.finished()) == [3, 4]
    assert it.first is None


def test_while_one_has_failed_its_key_waits() -> None:
    it, (a1, b1, *_) = window("abab")
    start_all(it)
    it.failed(a1)
    it.done(b1)
    assert start_all(it) == [4]
    assert it.finished() == []
    it.again(a1)
    assert start_all(it) == [1]
    it.done(a1)
    assert start_all(it) == [3]


def test_after_one_was_skipped_its_key_goes_on() -> None:
    it, (a1, *_) = window("aa")
    start_all(it)
    it.failed(a1)
    it.skipped()
    assert start_all(it) == [2]
    assert len(it) == 1


def test_those_of_a_parked_key_are_parked_when_the_prefix_reaches_them() -> None:
    it, (a1, b1, *_) = window("abaca")
    start_all(it)
    it.failed(a1)
    it.parked()
    assert it.finished() == []
    it.done(b1)
    found = it.finished()
    assert [(each.number, each.stage) for each in found] == [(2, Stage.DONE), (3, Stage.ASIDE)]
    assert start_all(it) == []
    later = it.add(events(6)[0], b"a")
    assert it.start() is later, "whether its key is parked is decided before it is taken"


def test_room_is_bounded() -> None:
    it, _ = window("abc", concurrency=2, prefetch=5)
    assert it.limit == 8
    assert it.room(100) == 5
    assert it.room(4) == 1, "little may wait in memory"
    assert it.room(5) == 5
    assert it.room(1) == -1, "but as many as may run are taken"
    assert Window(2, 50).limit == 50


def test_there_is_no_room_while_much_waits_for_an_event_before_it() -> None:
    state = partition(1, 2)
    it, (_, b1) = window("ab")
    b1.effects = OwnEffects(state)
    assert b1.effects.tables
    start_all(it)
    for _ in range(2):
        b1.effects.tables.put(A, b"x" * (MOST_AHEAD // 2 - 1))
    b1.effects.tables.size = MOST_AHEAD + 1
    it.done(b1)
    assert it.room(100) == 0
    first = it.first
    assert first
    it.done(first)
    it.finished()
    assert it.room(100) > 0


def test_a_closed_window_starts_what_lies_before_one_that_was_started() -> None:
    it, (a1, *_) = window("aabcd", concurrency=3)
    assert start_all(it) == [1, 3, 4]
    it.close()
    it.done(a1)
    assert start_all(it) == [2]
    it.done(it._events[2])
    assert start_all(it) == [], "5 lies behind all that were started"


def test_a_closed_window_starts_nothing_behind_one_that_has_failed() -> None:
    it, (a1, b1, *_) = window("abbcc")
    start_all(it)
    it.done(it._events[3])
    it.failed(a1)
    it.close()
    it.done(b1)
    assert start_all(it) == []


def test_nor_behind_one_that_fails_after_that() -> None:
    it, (a1, b1, *_) = window("abbc")
    assert start_all(it) == [1, 2, 4]
    it.close()
    it.failed(a1)
    it.done(b1)
    assert start_all(it) == []


def test_a_cleared_window_is_empty() -> None:
    it, (a1, *_) = window("ab")
    it.start()
    it.failed(a1)
    it.clear()
    assert len(it) == 0
    assert it.first is None
    assert not it.may_start
