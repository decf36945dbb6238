"""Which old entries leave a log in a test."""

from __future__ import annotations

import pytest

from runnel.errors import Full
from runnel.protocol import PartitionKeys
from runnel.testing.stored import Group, Log
from runnel.testing.trimming import Limits, leaving


def log(*times: int) -> Log:
    made = Log()
    for place, ms in enumerate(times):
        made.add(place, ms, [b"f", b"v"])
    return made


def reader(checkpoint: str, name: str = "work") -> Group:
    return Group(PartitionKeys("p", name), checkpoint)


def test_limits_of_a_script() -> None:
    assert Limits.of(50, "refuse") == (50, 0, "refuse")
    assert Limits.of("50,2000", "drop_unread") == (50, 2000, "drop_unread")


@pytest.mark.parametrize("size", [4, 5])
def test_nothing_leaves_while_there_is_room(size: int) -> None:
    assert leaving(log(1, 2, 3), [], Limits(size, 0, "refuse"), 1, 9) == 0


def test_what_every_processor_has_committed_makes_room() -> None:
    full, limits = log(1, 2, 3), Limits(3, 0, "refuse")
    assert leaving(full, [reader("2-0"), reader("3-0", "other")], limits, 1, 9) == 1
    with pytest.raises(Full, match="processor=other") as refusal:
        leaving(full, [reader("3-0"), reader("1-0", "other")], limits, 1, 9)
    assert refusal.value.details["checkpoint"] == "1-0"
    assert leaving(full, [reader("0-0")], Limits(3, 0, "drop_oldest"), 2, 9) == 2
    with pytest.raises(Full):
        leaving(full, [reader("3-0")], limits, 3, 9)


def test_a_log_that_nobody_reads_keeps_its_entries_unless_they_may_be_dropped() -> None:
    full = log(1, 2, 3)
    with pytest.raises(Full, match="FULL processor= limit=3"):
        leaving(full, [], Limits(3, 0, "refuse"), 1, 9)
    assert leaving(full, [], Limits(3, 0, "drop_unread"), 1, 9) == 1
    with pytest.raises(Full):
        leaving(full, [reader("0-0")], Limits(3, 0, "drop_unread"), 1, 9)


def test_old_entries_leave_once_they_are_committed() -> None:
    limits = Limits(50, 100, "refuse")
    assert leaving(log(1, 2, 3), [reader("3-0")], limits, 1, 50) == 0
    assert leaving(log(1, 2, 3), [reader("3-0")], limits, 1, 102) == 1
    assert leaving(log(1, 2, 3), [reader("3-0")], limits, 1, 500) == 2, "the last one stays"
    assert leaving(log(1, 2, 3), [reader("1-0")], limits, 1, 500) == 0
    assert leaving(log(1, 2, 3), [], limits, 1, 500) == 0
