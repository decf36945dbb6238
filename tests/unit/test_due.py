"""Events of a test that wait until they are due."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.errors import Full
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Call
from runnel.protocol.streams import flat
from runnel.testing.due import DueEvents
from runnel.testing.store import Store

PREFIX = "runnel:{app:s:0}:s"
NAMES = PartitionKeys(PREFIX, "work")


def test_they_are_taken_in_the_order_in_which_they_are_due() -> None:
    it = DueEvents()
    assert it.add(30, [[b"a"], [b"b"]], "one", 99) == [1, 30, 1, 2]
    assert it.add(20, [[b"c"]], "two", 99) == [1, 20, 3, 1]
    assert it.next == 20
    assert it.take(19) is None
    taken = [event.entry for event in (it.take(30), it.take(30), it.take(30)) if event]
    assert taken == [[b"c"], [b"a"], [b"b"]]
    assert not len(it)
    assert it.next is None


def test_a_repeat_adds_nothing_while_it_is_remembered() -> None:
    it = DueEvents()
    it.add(30, [[b"a"]], "one", 99)
    assert it.repeated("one", 98) == [0, 30, 1, 1]
    assert it.repeated("one", 99) is None
    assert it.repeated("two", 5) is None


def test_one_is_cancelled_by_its_time_and_number() -> None:
    it = DueEvents()
    it.add(30, [[b"a"], [b"b"]], "one", 99)
    assert not it.cancel(31, 1)
    assert it.cancel(30, 1)
    assert not it.cancel(30, 1)
    assert [each.entry for each in it] == [[b"b"]]


def later(kind: str, ms: int, key: str, *entries: list[bytes]) -> Call:
    """A call of the script `append_later`."""
    names = (NAMES.meta, f"{PREFIX}:delayed", f"{PREFIX}:delayed:{key}")
    return Call("append_later", names, (1, 1, "xxh64", 2, kind, ms, 1000, *flat(entries)))


def test_the_store_moves_what_is_due_into_the_log_before_anything_else() -> None:
    now = 100
    store = Store(lambda: now)
    assert store.run(later("delay", 50, "one", [b"f", b"1"])) == [1, 150, 1, 1]
    assert store.run(later("delay", 50, "one", [b"f", b"1"])) == [0, 150, 1, 1]
    assert store.run(later("at", 10, "two", [b"f", b"2"])) == [1, 100, 2, 1], "what is past is now"
    with pytest.raises(Full, match="FULL delayed=1 limit=2"):
        store.run(later("at", 500, "three", [b"f", b"3"], [b"f", b"4"]))
    assert [each.fields for each in store.logs[NAMES.log].entries] == [[b"f", b"2"]]
    promote = Call("promote", (NAMES.log, NAMES.meta, f"{PREFIX}:delayed"), (1, 1, "xxh64", 2))
    assert store.run(promote) == [0, 1, 50, 0]
    assert store.next_due == 0.1505, "in the middle of a millisecond"
    now = 150
    store.promote()
    assert [each.id for each in store.logs[NAMES.log].entries] == ["100-0", "150-0"]
    assert store.run(promote) == [0, 0, -1, 0]


def test_an_event_that_is_due_waits_for_room_and_may_be_cancelled() -> None:
    now: Any = 100
    store = Store(lambda: now)
    store.register(NAMES)
    for number in range(3):
        store.run(later("delay", 50, str(number), [b"f", b"%d" % number]))
        now += 50
        store.promote()
    assert (len(store.logs[NAMES.log]), len(store.due[NAMES.log])) == (2, 1)
    (waiting,) = store.due[NAMES.log]
    cancel = Call("cancel", (NAMES.meta, f"{PREFIX}:delayed"), waiting[:2])
    assert [store.run(cancel), store.run(cancel)] == [1, 0]
