"""What is said first, and what is not said."""

from __future__ import annotations

from runnel.conformance.rules import Finding
from runnel.conformance.verdict import verdict
from tests.kit.story import good


def test_causes_come_before_what_follows_from_them() -> None:
    found = verdict(
        good().case(),
        [Finding("contract", "ended"), Finding("W5", "a"), Finding("P3", "b")],
        [Finding(rule, "late", timed=True) for rule in ("outcome", "W4", "C2")],
    )
    assert [each.rule for each in found] == ["C2", "W5", "P3", "W4", "contract", "outcome"]


def test_without_a_rule_it_says_where_to_look() -> None:
    left = Finding("outcome", "left", timed=True)
    first, hint = verdict(good().case(), [], [left])
    assert (first, "history.txt" in hint.text, hint.timed) == (left, True, True)
    assert verdict(good().case(), [Finding("C4", "x")], [left])[1:] == [left]
    assert verdict(good().case(), [], []) == []


def test_what_prevents_that_anything_is_judged_is_all_that_is_said() -> None:
    silent = Finding("contract", "it has called no script", timed=True, alone=True)
    late, certain = Finding("W26", "late", timed=True), Finding("W11", "done")
    assert verdict(good().case(), [late, certain], [silent]) == [certain, silent]
    story = good()
    story.history.bad_lines += [("w1", "{x: it is not valid JSON"), ("w2", "{y: no")]
    (found,) = verdict(story.case(), [Finding("W17", "LOST")], [])
    assert (found.rule, found.timed) == ("contract", False)
    assert found.evidence == ("w1: {x: it is not valid JSON", "w2: {y: no")
