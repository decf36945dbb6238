"""Checks of what producers sent."""

from __future__ import annotations

from functools import partial
from typing import Any

from runnel.conformance.contract import PARTS, Sent
from runnel.conformance.history import Call
from runnel.conformance.sender import KEYS, partition_of
from runnel.conformance.sending import check_sending
from tests.kit.story import KEY, Story, broken, findings, good, refusal


def append(story: Story, number: int, payload: str = "{}", **more: Any) -> Call:
    names = (PARTS[0].log, PARTS[0].meta, "producers")
    args = (1, 4, "xxh64", 300, "refuse", more.get("producer", "p"), number, 2, "json", payload)
    return story.call("append", names, *args, reply=more.get("reply", [1, b"1-0", 1]), by="p1")


def declared() -> Story:
    story = good()
    story.call("declare", (PARTS[0].meta,), 1, 4, "xxh64", reply=[1], by="p1")
    return story


def test_a_good_history_breaks_nothing() -> None:
    story = declared()
    append(story, 1)
    append(story, 2)
    story.sent(KEY, 1, "1-0")
    assert broken(check_sending, story) == []


def test_records_are_given_up_only_under_faults() -> None:
    story = good()
    story.sent(KEY, 1, "1-0")
    story.history.sent.append(("p1", Sent(KEY, 2, None, "no answer")))
    assert broken(check_sending, story) == []
    assert broken(partial(check_sending, faultless=True), story) == ["contract"]
    del story.history.sent[0]
    assert broken(check_sending, story) == ["contract"], "nothing was sent at all"


def test_an_event_in_the_wrong_partition() -> None:
    story = good()
    story.event("3-0", key=next(key for key in KEYS if partition_of(key) != 0))
    assert broken(check_sending, story) == ["P2"]


def test_an_entry_that_others_cannot_read() -> None:
    story = good()
    story.event("3-0", work="3")
    log = story.history.log[0]
    log[4, 0] = log[2, 0]._replace(record=None, problem="it ends in half a field")
    (found,) = findings(check_sending, story)
    assert (found.rule, len(found.evidence)) == ("P10", 2)


def test_an_event_that_is_there_twice_or_too_late() -> None:
    story = good()
    story.event("3-0", number=1)
    assert broken(check_sending, story) == ["C3"]
    story = good()
    story.event("3-0", number=9)
    story.event("4-0", number=8)
    assert broken(check_sending, story) == ["P3"]


def test_acknowledged_events_are_in_the_log() -> None:
    story = good()
    story.sent(KEY, 1, "9-0")
    story.sent(KEY, 1, "2-0")
    assert broken(check_sending, story) == ["P3", "C6"]


def test_appends_before_the_stream_is_declared() -> None:
    story = good()
    append(story, 1)
    assert broken(check_sending, story) == ["P1"]


def test_numbers_of_appends() -> None:
    story = declared()
    append(story, 1)
    append(story, 3)
    append(story, 2, producer="other")
    (found,) = findings(check_sending, story)
    assert (found.rule, len(found.evidence)) == ("P3", 2)


def test_a_repeat_has_the_same_bytes() -> None:
    story = declared()
    append(story, 1, '{"n": 1}', reply=None)
    append(story, 1, '{"n": 1}')
    assert broken(check_sending, story) == []
    append(story, 2, '{"n": 2}', reply=None)
    append(story, 2, '{"n": 2}', reply=refusal("FULL processor=kit"))
    append(story, 2, '{"n": 3}')
    assert broken(check_sending, story) == ["C3"], "the first one may still arrive"


def test_after_full_other_entries_may_have_the_number() -> None:
    story = declared()
    append(story, 1, '{"n": 2}', reply=refusal("FULL processor=kit"))
    append(story, 1, '{"n": 3}')
    assert broken(check_sending, story) == []


def test_a_lost_append_is_not_sent_as_a_new_one() -> None:
    story = declared()
    append(story, 1, '{"n": 1}', reply=None)
    append(story, 1, '{"n": 1}', producer="another")
    assert broken(check_sending, story) == ["C3"]
    story = declared()
    append(story, 1, '{"n": 1}', reply=None)
    append(story, 1, '{"n": 2}', producer="another")
    assert broken(check_sending, story) == [], "what was not repeated may be given up"


def test_two_appends_in_flight() -> None:
    story = declared()
    first = append(story, 1, reply=None)
    append(story, 2, '{"n": 2}')
    story.answer(first, [1, b"1-0", 1])
    assert broken(check_sending, story) == ["P3"]
