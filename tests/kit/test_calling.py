"""Checks of the calls of workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runnel import keys
from runnel.conformance.calling import check_calling
from runnel.conformance.contract import GROUP, PARTS
from runnel.protocol.scripts import version
from tests.kit.story import broken, findings, good, refusal


def actor(**fields: Any) -> Any:
    proxy = SimpleNamespace(muted=set())
    told = {"told": None, "was_stopped": False, "producer": False, "exit_code": None}
    return SimpleNamespace(name="w1", proxy=proxy, **{**told, **fields})


def test_a_good_history_breaks_nothing() -> None:
    assert broken(check_calling, good(), actor()) == []


def test_a_script_that_is_no_script_of_the_protocol() -> None:
    story = good()
    call = story.call("", ["k"], reply=[1])
    call.digest, call.unknown = "abc", "append"
    (found,) = findings(check_calling, story)
    assert (found.rule, version() in found.text) == ("C13", True)
    assert found.evidence[0].startswith("w1 called append with the SHA-1 abc; nothing says")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("host 1 test 0", "nothing says which script set it has"),
        ("host 1 test 0 1234567", "it says that it has the script set 1234567: take the kit of"),
        (f"host 1 test 0 {version()}", "so its copy of the file was changed"),
    ],
)
def test_the_script_set_of_a_client_with_other_scripts(words: str, said: str) -> None:
    """Its `sync` may be one of them."""
    story = good()
    member = ("w1", "start", 1, "stay", words, 0)
    story.call("", [keys.plan(GROUP), "m", "s"], 4, 1500, 5000, 50, *member, reply=[1, 1, 1, 1])
    (found,) = findings(check_calling, story)
    assert said in found.evidence[0]


def test_malformed_calls() -> None:
    story = good()
    story.call("tick", ["k"], reply=refusal("BADARG field=instant"))
    story.call("append", ["k"], reply=refusal("BADARG field=entries"))
    story.call("append", ["k"], reply=refusal("ERR ACL failure in script: User w has no"))
    assert broken(check_calling, story) == ["C13", "C7"]


def test_call_numbers_of_sync() -> None:
    story = good()
    story.sync(2)
    story.sync(3, reply=None)
    story.sync(4)
    assert broken(check_calling, story) == []
    story.sync(4)
    assert broken(check_calling, story) == ["W3"]


def test_only_the_first_sync_is_repeated_until_it_is_answered() -> None:
    story = good()
    story.sync(1, start="another", reply=None)
    for connection in range(1, 6):
        story.sync(1, start="another", connection=connection)
        assert broken(check_calling, story) == [], "its time limit may have been over"
    story.sync(1, start="another", connection=5)
    assert broken(check_calling, story) == ["W3"], "the reply was on this connection"


def test_a_sync_that_was_answered_many_times_is_not_repeated() -> None:
    story = good()
    for connection in range(6):
        story.sync(1, start="another", connection=connection)
    assert broken(check_calling, story) == []
    story.sync(1, start="another", connection=6)
    assert broken(check_calling, story) == ["W3"]


def test_a_sync_that_did_not_run_keeps_its_number() -> None:
    story = good()
    story.sync(2, reply=refusal("NOSCRIPT No matching script."))
    story.sync(2)
    assert broken(check_calling, story) == []


def test_two_starts_with_one_incarnation() -> None:
    story = good()
    story.sync(1, by="w2", start="start of w1")
    assert broken(check_calling, story) == ["W1"]


def test_claims_before_all_is_registered() -> None:
    story = good()
    story.claim(2, "2-0", by="w2")
    assert broken(check_calling, story) == ["W2"]


def test_nonces_of_claims() -> None:
    story = good()
    first = story.claim(2, "2-0")
    again = story.claim(2, "2-0")
    assert broken(check_calling, story) == []
    again.args[6] = b"another nonce"
    assert broken(check_calling, story) == ["W9"]
    again.args[6] = first.args[6]
    story.claim(3, "2-0").args[6] = first.args[6]
    assert broken(check_calling, story) == ["W9"]


def test_a_lost_commit_is_repeated() -> None:
    story = good()
    story.event("3-0")
    story.event("4-0")
    story.commit("2-0", "3-0", 1, reply=None)
    story.commit("2-0", "3-0", 1, reply=[0, 0])
    assert broken(check_calling, story) == []
    story.commit("3-0", "4-0", 1, reply=None)
    story.commit("2-0", "4-0", 1, reply=[0, 0])
    assert broken(check_calling, story) == ["W19"]


def test_two_commits_in_flight() -> None:
    story = good()
    story.event("3-0")
    story.event("4-0")
    first = story.commit("2-0", "3-0", 1, reply=None)
    story.commit("3-0", "4-0", 1)
    story.answer(first, [1, 0])
    assert broken(check_calling, story) == ["W19"]


def test_a_wrong_count() -> None:
    story = good()
    story.event("3-0")
    story.event("4-0")
    story.commit("2-0", "4-0", 1)
    (found,) = findings(check_calling, story)
    assert (found.rule, "the log has 2" in found.evidence[0]) == ("W18", True)


def test_many_events_in_a_commit_after_an_unclean_tenure() -> None:
    story = good()
    story.event("3-0")
    story.event("4-0")
    story.claim(2, "2-0", unclean=1)
    story.commit("2-0", "4-0", 2, grant=2)
    assert broken(check_calling, story) == ["W23"]


def test_noscript_without_a_repeat() -> None:
    story = good()
    story.commit("2-0", "2-0", 0, reply=refusal("NOSCRIPT No matching script."))
    assert broken(check_calling, story, actor()) == ["C4"]
    assert broken(check_calling, story, actor(exit_code=1)) == ["C4"], "it ended because of it"
    assert broken(check_calling, story, actor(exit_code=-9)) == [], "it was killed meanwhile"
    story.commit("2-0", "2-0", 0)
    assert broken(check_calling, story, actor()) == []


def test_a_call_that_is_never_answered() -> None:
    story = good()
    worker = actor()
    worker.proxy.muted.add(story.commit("2-0", "2-0", 0, reply=None))
    story.wait(2.0)
    story.commit("2-0", "2-0", 0)
    assert broken(check_calling, story, worker) == []
    worker.proxy.muted.add(story.commit("2-0", "2-0", 0, reply=None))
    story.wait(6.0)
    story.commit("2-0", "2-0", 0)
    (found,) = findings(check_calling, story, worker)
    assert (found.rule, found.timed) == ("C2", True)
    assert found.evidence[0].endswith("; its repeat came 6.0 s later, the limit is 0.5 s")


def test_a_released_partition_is_reported() -> None:
    story = good()
    story.commit("2-0", "2-0", 0, release=1)
    story.sync(2)
    story.sync(3, reported=(0, 1, 0))
    assert broken(check_calling, story) == []
    story.claim(2, "2-0")
    story.commit("2-0", "2-0", 0, release=1, grant=2)
    story.sync(4)
    story.sync(5)
    assert broken(check_calling, story) == ["W5"]


def test_a_released_partition_is_reported_until_that_was_answered() -> None:
    story = good()
    story.commit("2-0", "2-0", 0, release=1)
    story.sync(2, reported=(0, 1, 0), reply=None)
    story.sync(3, reported=(0, 1, 0), reply=[9, 1, 1500, -1])
    story.sync(10, reported=(0, 1, 0))
    story.sync(11)
    assert broken(check_calling, story) == []


def test_a_sync_without_a_report_may_arrive_behind_a_newer_one_with_it() -> None:
    story = good()
    story.commit("2-0", "2-0", 0, release=1)
    story.sync(4, reported=(0, 1, 0), reply=None)
    for number in (2, 3):
        story.sync(number, reply=[4, 1, 1500, -1])
    assert broken(check_calling, story) == []


@pytest.mark.parametrize("reply", [None, [9, 1, 1500, -1], refusal("LOADING")])
def test_a_report_that_was_not_taken_in_is_not_forgotten(reply: Any) -> None:
    """It got no reply, or that to a newer call, or an error."""
    story = good()
    story.commit("2-0", "2-0", 0, release=1)
    story.sync(2, reported=(0, 1, 0), reply=reply)
    story.sync(10)
    assert broken(check_calling, story) == [], "it may have been on its way"
    story.sync(11)
    (found,) = findings(check_calling, story)
    assert (found.rule, "forgotten" in found.text) == ("W5", True)


def test_the_grant_that_a_stale_claim_has_seen_is_reported() -> None:
    def told(seen: int) -> list[str]:
        story = good()
        args = (1, 4, "xxh64", "kit", "w1", 2, "nonce-2", "")
        stale = refusal("STALE_GRANT seen=77")
        story.call("claim", PARTS[0].of_script(), *args, reply=stale)
        story.sync(2, reported=(0, 2, seen))
        story.sync(3)
        return broken(check_calling, story)

    assert (told(77), told(0)) == ([], ["W5"])


@pytest.mark.parametrize("word", ["FENCED epoch=30", "CONFLICT checkpoint=2-0 missing=3-0"])
def test_a_commit_after_a_refusal(word: str) -> None:
    story = good()
    story.commit("2-0", "2-0", 0, reply=refusal(word))
    story.commit("2-0", "3-0", 1, reply=refusal(word))
    assert broken(check_calling, story) == ["W20"]


def test_the_same_commit_may_follow_its_refusal_on_another_connection() -> None:
    """The worker may not have read the reply before its time limit was over."""
    story = good()
    for connection in (0, 1):
        call = story.commit("2-0", "2-0", 0, reply=refusal("FENCED epoch=30"))
        call.connection = connection
    assert broken(check_calling, story) == []
    story.commit("2-0", "2-0", 0, reply=refusal("FENCED epoch=30"))
    assert broken(check_calling, story) == ["W20"]


def test_commits_of_other_processors_are_of_no_interest() -> None:
    story = good()
    names = [PARTS[0].log, PARTS[0].meta, f"{PARTS[0].state}x"]
    story.call("commit", names, "x", 1, "n", "0-0", "2-0", 9, 0, reply=[1, 0])
    assert broken(check_calling, story) == []
