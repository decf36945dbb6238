"""Checks of what workers do when an event fails."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.conformance.contract import PARTS
from runnel.conformance.failing import check_failing
from runnel.conformance.history import Call
from tests.kit.story import Story, broken, findings, good


def attempt(story: Story, kind: str, number: int, event: str = "3-0", grant: int = 1) -> Call:
    token = (10 * grant, f"nonce-{grant}")
    said = ("", "") if kind == "start" else ("Error", "no")
    return story.call("attempt", [PARTS[0].state], *token, kind, event, number, *said, reply=[0])


def failing(fail: int = 9) -> Story:
    """Behind two good events comes one that fails, and has failed once, with a report."""
    story = good()
    story.event("3-0", fail=fail)
    story.failed("3-0")
    attempt(story, "failure", 1)
    return story


def test_a_good_history_breaks_nothing() -> None:
    assert broken(check_failing, good()) == []


def test_an_event_that_only_this_worker_cannot_read() -> None:
    story = good()
    story.event("3-0")
    attempt(story, "failure", 1)
    (found,) = findings(check_failing, story)
    assert found.rule == "W29"
    (evidence,) = found.evidence
    assert evidence == "w1: 3-0 of partition 0, an entry with the codec json: Error: no"


def test_retries_with_reports_and_pauses_until_the_quarantine() -> None:
    story = failing()
    for number, pause in ((2, 0.5), (3, 1.0), (4, 2.0)):
        story.wait(pause)
        story.failed("3-0")
        attempt(story, "failure", number)
    attempt(story, "quarantine", 4)
    assert broken(check_failing, story) == []
    story.wait(4.0)
    story.failed("3-0")
    (found,) = findings(check_failing, story)
    assert (found.rule, found.text) == ("W21", "an event was tried after its last retry")


def test_an_event_that_is_given_up_sooner_than_by_others() -> None:
    story = failing()
    story.wait(0.5)
    story.failed("3-0")
    attempt(story, "quarantine", 2)
    assert broken(check_failing, story) == ["W24"]


def test_a_try_without_a_pause() -> None:
    story = failing()
    story.wait(0.4)
    story.failed("3-0")
    (found,) = findings(check_failing, story)
    assert (found.rule, "the pause is 0.5 s" in found.evidence[0]) == ("W21", True)


def test_a_try_without_a_report_of_the_failure_before() -> None:
    story = good()
    story.event("3-0", fail=1)
    story.failed("3-0")
    story.wait(1.0)
    story.line("3-0")
    (found,) = findings(check_failing, story)
    assert found.text == "a failure was not reported before the next try"


@pytest.mark.parametrize(("number", "rules"), [(2, []), (0, ["W21"]), (3, ["W21"])])
def test_the_numbers_of_failures(number: int, rules: list[str]) -> None:
    story = failing()
    attempt(story, "failure", number)
    assert broken(check_failing, story) == rules


@pytest.mark.parametrize(("number", "rules"), [(2, []), (1, ["W21"])])
def test_the_next_owner_goes_on_with_the_count(number: int, rules: list[str]) -> None:
    story = failing()
    claim = story.claim(2, "2-0")
    claim.reply[3:5] = [1, b"3-0"]
    story.failed("3-0")
    attempt(story, "failure", number, grant=2)
    assert broken(check_failing, story) == rules


def deadly(claimed: Any) -> Story:
    """A claim after deaths: attempts, event, unclean tenures, deaths."""
    story = good()
    story.event("3-0", die=True)
    story.event("4-0")
    claim = story.claim(2, "2-0")
    claim.reply[3:6], claim.reply[12] = claimed[:3], claimed[3]
    return story


def test_starts_are_recorded_after_deaths() -> None:
    story = deadly([1, b"3-0", 1, 1])
    attempt(story, "start", 1, grant=2)
    story.line("3-0")
    story.line("4-0")  # All is as usual behind the event.
    assert broken(check_failing, story) == []
    story = deadly([0, b"", 3, 0])
    attempt(story, "start", 0, grant=2)
    story.line("3-0")
    story.line("4-0")
    (found,) = findings(check_failing, story)
    assert (found.rule, "w1: processed 4-0" in found.evidence[0]) == ("W23", True)


def test_a_start_with_a_wrong_number() -> None:
    story = deadly([1, b"3-0", 1, 1])
    attempt(story, "start", 2, grant=2)
    story.line("3-0")
    assert broken(check_failing, story) == ["W22"]


def test_an_event_that_has_killed_enough_workers() -> None:
    story = deadly([4, b"3-0", 4, 2])
    del story.history.log[0][3, 0].record["die"]  # type: ignore[union-attr]
    attempt(story, "failure", 4, grant=2)  # For want of a try, the number stays.
    attempt(story, "quarantine", 4, grant=2)
    assert broken(check_failing, story) == []
    attempt(story, "start", 4, grant=2)
    story.failed("3-0")
    assert "W22" in broken(check_failing, story)
