"""A history in the order of its partitions."""

from __future__ import annotations

from runnel.conformance.case import Findings
from tests.kit.story import good, refusal


def test_events_between_two_checkpoints() -> None:
    story = good()
    story.event("3-0")
    story.history.removed[0] = {(2, 0)}
    case = story.case()
    assert case.between(0, (0, 0), (3, 0)) == [(1, 0), (3, 0)]
    assert case.between(0, (1, 0), (1, 0)) == []
    assert case.between(1, (0, 0), (9, 0)) == []


def test_a_tenure_begins_when_the_claim_is_answered() -> None:
    story = good()
    lost = story.claim(2, "2-0")
    lost.answered = None
    refused = story.claim(3, "2-0")
    refused.reply = refusal("STALE_GRANT seen=4")
    last = story.claim(4, "2-0", unclean=2, paused=1, lost=3)
    case = story.case()
    first, second = case.tenures["w1", 0]
    assert (first.epoch, second.epoch, second.claim) == (10, 40, last)
    assert (second.checkpoint, second.unclean, second.stopped, second.lost) == ((2, 0), 2, True, 3)
    assert case.tenure_at("w1", 0, second.place) == first
    assert case.tenure_at("w2", 0, second.place) is None


def test_the_same_thing_is_one_finding_with_some_evidence() -> None:
    found = Findings()
    for number in range(5):
        found.add("W3", "text", f"evidence {number}")
    found.add("W4", "text")
    several, without = found.all()
    assert several.evidence == ("evidence 0", "evidence 1", "evidence 2", "and 2 more times")
    assert (without.rule, without.evidence) == ("W4", ())
