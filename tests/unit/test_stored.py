"""A log in memory has the ids that Redis would give, and what was trimmed is seen by tests only."""

from __future__ import annotations

from runnel.protocol import PartitionKeys
from runnel.testing.stored import Group, Log


def log(*times: int) -> Log:
    made = Log()
    for place, ms in enumerate(times):
        made.add(place, ms, [b"f", b"%d" % place])
    return made


def test_ids_rise_even_if_the_time_stands_still_or_goes_back() -> None:
    assert [each.id for each in log(5, 5, 7, 6, 8).entries] == ["5-0", "5-1", "7-0", "7-1", "8-0"]
    assert (log(5).last, log().last) == ("5-0", "0-0")


def test_entries_after_an_id() -> None:
    it = log(5, 5, 7)
    assert [each.id for each in it.after("0-0")] == ["5-0", "5-1", "7-0"]
    assert [each.id for each in it.after("5-0", 1)] == ["5-1"]
    assert [it.count_after(each) for each in ("0-0", "5-1", "6-9", "7-0")] == [3, 1, 1, 0]
    assert [it.has(each) for each in ("5-1", "5-2", "9-0", "0-0")] == [True, False, False, False]


def test_what_was_trimmed_is_not_read() -> None:
    it = log(5, 6, 7)
    it.trimmed = 2
    assert (len(it), [each.id for each in it.after("0-0")]) == (1, ["7-0"])
    assert (it.count_after("5-0"), it.has("6-0"), it.has("7-0")) == (1, False, True)
    assert len(it.entries) == 3


def test_parked_entries_without_those_that_are_finished() -> None:
    group = Group(PartitionKeys("p", "work"))
    for place in range(3):
        group.parked.add(place, 5, [b"key", b"k"])
    group.unparked.add("5-1")
    assert [each.id for each in group.still_parked()] == ["5-0", "5-2"]
