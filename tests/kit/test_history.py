"""Calls and lines, as people read them."""

from __future__ import annotations

from runnel import keys
from runnel.conformance.contract import GROUP, PARTS
from runnel.conformance.history import where
from tests.kit.story import Story, good, refusal


def test_a_call_in_one_line() -> None:
    story = Story()
    answered = story.commit("0-0", "1-0", 1)
    assert answered.shown() == "w1: commit (partition 0) kit 10 nonce-1 0-0 1-0 1 0 → 1 0"
    lost = story.commit("0-0", "1-0", 1, reply=None)
    lost.reply = [1, 0]
    assert lost.shown().endswith("→ 1 0, which the client never got")
    lost.reply, lost.swallowed = None, True
    assert lost.shown().endswith("→ it never arrived")
    assert (lost.ok, lost.error, lost.refused) == ([], "", "")


def test_a_call_of_binary_values() -> None:
    story = Story()
    call = story.call("append", ["k"], "\x00\n" + 100 * "x", reply=refusal("FULL processor=kit"))
    assert call.shown().startswith("w1: append ··xxx")
    assert "…" in call.shown()
    assert (call.refused, call.ok, call.arg(2)) == ("FULL", [], "")


def test_what_a_sync_reports() -> None:
    story = Story()
    assert story.sync(1, reported=(0, 7, 0, 3, 8, 9)).reported == {(0, 7): 0, (3, 8): 9}
    assert story.sync(2).reported == story.commit("0-0", "1-0", 1).reported == {}
    assert story.call("sync", ("p", "m", "s"), *"123456789", "held").reported == {}


def test_calls_of_some_scripts_and_a_line() -> None:
    story = good()
    assert [each.script for each in story.history.of("claim", "commit")] == [
        "claim",
        "commit",
        "commit",
    ]
    line = story.history.lines[0]
    key = line.done.record["key"]
    assert line.shown() == f"w1: processed 1-0 of partition 0, key {key!r} number 1"


def test_the_partition_of_keys() -> None:
    assert where([PARTS[2].state.encode()]) == " (partition 2)"
    elsewhere = keys.partition("conformance", "elsewhere", 1, "elsewhere")
    assert where([elsewhere.encode()]) == " (partition 1 of elsewhere)"
    assert where([keys.plan(GROUP).encode()]) == where([]) == ""


def test_everything_in_order_with_seconds() -> None:
    story = good()
    story.history.began = 100.0
    story.failed("2-0")
    story.history.note("fault: the connections of w1 are cut")
    lines = story.history.text().splitlines()
    assert lines[0] == (
        "     0     0.010 w1: register (partition 0) 1 4 xxh64 kit 0 → 1 0-0 (0.010 s)"
    )
    assert [line.split(None, 2)[2] for line in lines[-2:]] == [
        "w1: failed at 2-0 of partition 0",
        "fault: the connections of w1 are cut",
    ]
