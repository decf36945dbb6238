"""Checks of how commands ended."""

from __future__ import annotations

import signal
from functools import partial
from types import SimpleNamespace
from typing import Any

from runnel.conformance.case import Case, Findings
from runnel.conformance.ending import check_ending
from runnel.protocol import PartitionDescription
from tests.kit.story import Story, broken, findings, good


def worker(**fields: Any) -> Any:
    usual = {
        "name": "w1",
        "member": "w1",
        "producer": False,
        "told": (signal.SIGTERM, 1000, 200.0),
        "waits_in_vain": False,
        "exit_code": 0,
        "log": "w1.log",
        "to_be_replaced": False,
        "ends_by": "W1",
    }
    return SimpleNamespace(**{**usual, **fields})


def check(case: Case, found: Findings, owner: str = "", members: frozenset[str] = frozenset()):  # type: ignore[no-untyped-def]
    released = [PartitionDescription(owner="w1", released=True)] * 3
    held = PartitionDescription(owner=owner or None, released=not owner)
    check_ending(case, [*released, held], set(members), found)


def left() -> Story:
    story = good()
    for _ in range(1000):
        next(story.history.places)
    story.sync(2, "leave")
    return story


def test_a_worker_that_left() -> None:
    assert broken(check, left(), worker()) == []


def test_a_worker_that_left_something_behind() -> None:
    assert broken(partial(check, members=frozenset({"w1"})), left(), worker()) == ["W26"]
    assert broken(partial(check, owner="w1"), left(), worker()) == ["W26"]
    assert broken(partial(check, owner="w2"), left(), worker()) == []


def test_exit_codes() -> None:
    assert broken(check, left(), worker(exit_code=1)) == ["W26"]
    killed = worker(exit_code=-9, told=(signal.SIGKILL, 1000, 200.0))
    assert broken(check, good(), killed) == []


def test_a_worker_that_did_not_leave_the_group() -> None:
    (found,) = findings(partial(check, members=frozenset({"w1"})), good(), worker())
    assert found.evidence == ("w1: after SIGTERM, sync was called with nothing",)


def test_a_worker_that_was_replaced_ends_with_an_error() -> None:
    assert broken(check, good(), worker(to_be_replaced=True, told=None, exit_code=1)) == []
    assert broken(check, good(), worker(to_be_replaced=True, told=None, exit_code=0)) == ["W1"]
    refusing = worker(to_be_replaced=True, told=None, exit_code=0, ends_by="W11")
    assert broken(check, good(), refusing) == ["W11"]
    assert broken(check, good(), worker(to_be_replaced=True)) == [], "the trial says so itself"


def test_a_producer_says_what_became_of_each_record() -> None:
    producer = worker(producer=True, told=None, given=3, unsaid=0, surplus=[])
    assert broken(check, good(), producer) == []
    producer.unsaid = 1
    producer.surplus = [("a record was acknowledged more than once", "number 1 of 'a'")]
    twice, silent = findings(check, good(), producer)
    assert twice.text == "a record was acknowledged more than once"
    assert twice.evidence == ("w1: number 1 of 'a'",)
    assert (silent.rule, silent.evidence) == ("contract", ("w1: 1 of 3",))
    producer.surplus, producer.waits_in_vain = [], True
    assert broken(check, good(), producer) == [], "there is no room, and nobody makes any"
