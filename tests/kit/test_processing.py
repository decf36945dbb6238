"""Checks of what workers processed."""

from __future__ import annotations

import pytest

from runnel.conformance.contract import PARTS
from runnel.conformance.processing import check_processing
from tests.kit.story import Story, broken, findings, good, refusal


def test_a_good_history_breaks_nothing() -> None:
    assert broken(check_processing, good()) == []


def test_a_record_that_was_decoded_otherwise() -> None:
    story = good()
    story.event("3-0", text="ż")
    story.line("3-0", text="?")
    (found,) = findings(check_processing, story)
    assert found.rule == "C5"
    assert "text is '?', in the log it is 'ż'" in found.evidence[0]


def test_an_event_that_nobody_sent() -> None:
    story = good()
    story.line("7-7")
    assert "C6" in broken(check_processing, story)


def test_an_event_that_was_committed_and_never_processed() -> None:
    story = good()
    story.event("3-0")
    story.event("4-0")
    story.line("4-0")
    story.commit("2-0", "4-0", 2)
    texts = [each.text for each in findings(check_processing, story) if each.rule == "W17"]
    assert [text.partition(":")[0] for text in texts[:2]] == ["LOST", "ORDER"]
    assert "an event was committed before its handler had finished it" in texts


def test_an_event_that_was_committed_before_its_line() -> None:
    story = good()
    story.event("3-0")
    story.commit("2-0", "3-0", 1)
    story.line("3-0")
    (found,) = findings(check_processing, story)
    assert (found.rule, "is stdout flushed?" in found.evidence[0]) == ("W17", True)


def test_a_refused_commit_commits_nothing() -> None:
    story = good()
    story.event("3-0")
    story.commit("2-0", "3-0", 1, reply=refusal("FENCED epoch=30"))
    story.claim(3, "2-0", by="w2")
    story.line("3-0", by="w2")
    assert broken(check_processing, story) == []


def test_what_the_kit_removed_need_not_be_processed() -> None:
    story = good()
    story.event("3-0")
    story.event("4-0")
    story.history.removed[0] = {(3, 0)}
    story.line("4-0")
    story.commit("2-0", "4-0", 1)
    assert broken(check_processing, story) == []


def test_an_event_again_under_the_same_lease() -> None:
    story = good()
    story.line("2-0")
    assert broken(check_processing, story) == ["W14"]


def test_a_new_lease_repeats_only_what_is_after_its_checkpoint() -> None:
    story = good()
    story.claim(2, "1-0", by="w2")
    story.line("2-0", by="w2")
    assert broken(check_processing, story) == []
    story.line("1-0", by="w2")
    assert broken(check_processing, story) == ["W9"]


def test_the_event_in_hand_may_be_finished_under_the_next_lease() -> None:
    story = Story()
    story.event("1-0")
    story.event("2-0")
    story.claim()
    story.line("1-0")
    story.commit("0-0", "1-0", 1)
    story.claim(2, "2-0")
    story.line("2-0")
    assert broken(check_processing, story) == []


def test_nothing_is_in_hand_of_a_partition_that_was_released() -> None:
    story = good()
    story.event("3-0")
    story.commit("2-0", "2-0", 0, release=1)
    story.claim(2, "2-0", paused=1)
    story.line("3-0")
    assert broken(check_processing, story) == ["W11"]


def test_events_without_a_claim() -> None:
    story = Story()
    story.event("1-0")
    story.line("1-0")
    assert broken(check_processing, story) == ["W9"]


@pytest.mark.parametrize(("field", "value", "rule"), [("paused", 1, "W11"), ("lost", 0, "W12")])
def test_events_that_must_not_be_processed_yet(field: str, value: int, rule: str) -> None:
    story = good()
    story.event("3-0")
    story.event("4-0")
    story.claim(2, "2-0", by="w2", **{field: value})
    story.line("3-0", by="w2")
    assert broken(check_processing, story) == [rule]


def test_a_zombie_that_goes_on_after_a_refusal() -> None:
    story = good()
    for number in range(3, 7):
        story.event(f"{number}-0")
    story.line("3-0")
    story.commit("2-0", "3-0", 1, reply=refusal("FENCED epoch=30"))
    story.wait(1.0)
    story.line("4-0")
    assert broken(check_processing, story) == [], "it was in hand"
    story.line("5-0")
    assert broken(check_processing, story) == ["W20"]


def test_an_event_that_starts_after_the_session() -> None:
    story = good()
    for number in range(3, 7):
        story.event(f"{number}-0")
    story.wait(1.6)
    story.line("3-0")
    assert broken(check_processing, story) == [], "it was in hand"
    story.line("4-0")
    assert broken(check_processing, story) == ["W7"]


def test_a_session_counts_from_the_first_sending() -> None:
    story = good()
    for number in range(3, 7):
        story.event(f"{number}-0")
    call = story.sync(2, reply=None)
    story.wait(0.5)
    story.answer(call, [2, 1, 1500, -1])
    story.wait(1.1)
    story.line("3-0")
    story.line("4-0")
    assert broken(check_processing, story) == ["W7"]


def test_other_keys_are_of_no_interest() -> None:
    story = good()
    names = [f"{PARTS[0].log}x", PARTS[0].meta, f"{PARTS[0].state}x"]
    story.call("commit", names, "kit", 1, "n", "0-0", "9-0", 1, 0, reply=[1, 0])
    assert broken(check_processing, story) == []
