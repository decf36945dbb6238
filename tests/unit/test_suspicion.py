"""Which events are suspected after failures and deaths of workers, and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runnel.core.suspicion import RECORD_AFTER, SUSPECTS, Suspicion
from tests.unit.partition_states import CLAIMED, state


def suspicion(**claimed: object) -> Suspicion:
    return Suspicion(replace(CLAIMED, **claimed))  # type: ignore[arg-type]


def test_nothing_is_suspected_after_a_clean_release() -> None:
    it = suspicion()
    assert not it.careful
    assert not it.recorded


def test_failures_without_deaths_record_no_starts() -> None:
    it = suspicion(attempts=3, event="5-0", unclean_tenures=RECORD_AFTER - 1)
    assert it.careful
    assert not it.recorded
    assert not it.one_by_one
    assert not it.alone


def test_starts_are_recorded_after_deaths_until_the_suspects_are_finished() -> None:
    it = suspicion(unclean_tenures=RECORD_AFTER)
    assert it.recorded
    assert not it.alone, "it is unknown which event it was"
    for number in range(SUSPECTS):
        assert it.recorded
        it.survived(b"%d-0" % (number + 1), 1)
    assert not it.careful


def test_after_one_death_each_event_is_committed_before_the_next() -> None:
    it = suspicion(unclean_tenures=1)
    assert not it.one_by_one
    for number in range(SUSPECTS):
        assert it.commit_first
        assert it.careful
        it.survived(b"%d-0" % (number + 1), 1)
    assert not it.commit_first
    assert not it.careful


def test_once_the_event_that_may_have_killed_a_worker_is_done_nothing_is_suspected() -> None:
    it = suspicion(unclean_tenures=1, deaths=1, attempts=1, event="5-0")
    assert it.recorded
    assert it.alone
    it.survived(b"4-0", 1)
    assert it.alone
    it.survived(b"5-0", 1)
    assert not it.careful
    assert (it.attempts, it.deaths, it.event) == (0, 0, b"")


@pytest.mark.parametrize(
    ("attempts", "deaths", "retries", "killed_workers"),
    [
        (1, 1, 0, False),  # The event of another partition may have been the reason.
        (2, 2, 0, True),
        (2, 2, 1, True),
        (3, 2, 3, False),
        (4, 4, 3, True),
        (9, 0, 3, False),  # These were failures, which `decide` counts.
        (9, 1, 3, False),
    ],
)
def test_an_event_is_blamed_for_deaths_and_not_for_failures(
    attempts: int, deaths: int, retries: int, killed_workers: bool
) -> None:
    it = suspicion(attempts=attempts, deaths=deaths, event="5-0")
    assert it.kills_workers(b"5-0", retries) is killed_workers
    assert not it.kills_workers(b"6-0", retries)


def test_a_failure_that_its_worker_survived_resets_the_deaths_in_a_row() -> None:
    it = suspicion(attempts=2, deaths=2, unclean_tenures=2, event="5-0")
    assert it.failed(b"5-0") == 3
    assert not it.alone
    assert it.recorded
    assert not it.kills_workers(b"5-0", 1)


def test_failures_elsewhere_are_forgiven_and_deaths_are_not() -> None:
    it = suspicion(attempts=4, event="5-0")
    it.forget_failures()
    assert it.failed(b"5-0") == 1
    it = suspicion(attempts=4, deaths=4, event="5-0")
    it.forget_failures()
    assert it.kills_workers(b"5-0", 3)


def test_failures_of_a_later_event_are_kept_until_it_is_done() -> None:
    it = suspicion(attempts=2, event="5-0")
    it.survived(b"4-0", 1)
    assert it.failed(b"5-0") == 3


def test_only_one_event_at_a_time_is_handed_out_while_starts_are_recorded() -> None:
    it = state(1, 2, 3, unclean_tenures=RECORD_AFTER)
    assert len(it.hand_out(5)) == 1


def test_the_first_current_events_may_be_finished_and_the_others_rewound() -> None:
    it = state(1, 2, 3, 4)
    it.hand_out(2)
    it.hand_out(1)
    assert [each[0] for each in it.current] == [b"1-0", b"2-0", b"3-0"]
    it.finish(1)
    assert [each[0] for each in it.current] == [b"2-0", b"3-0"]
    it.rewind(keep=1)
    assert [each[0] for each in it.current] == [b"2-0"]
    it.finish()
    step = it.next_commit()
    assert step
    assert (step.next, step.count) == ("2-0", 2)
    assert [each[0] for each in it.hand_out(5)] == [b"3-0", b"4-0"]
