"""The event loop and the heartbeat thread see one membership: each call reports what it says it
reports, and a claim counts only under the current grant."""

from __future__ import annotations

import threading

from runnel.core.membership import Membership
from runnel.protocol import Grant, SyncReply
from runnel.worker.shared_membership import SharedMembership, SyncCall

MEMBER = ("a", "incarnation", "host 1 python 1")
BOTH = Grant(0, 10, True), Grant(1, 11, True)


def reply(call: int, *grants: Grant, session_ms: int = 1000) -> SyncReply:
    return SyncReply(call, 1, session_ms, None, grants)


def granted(membership: Membership | None = None) -> SharedMembership:
    """A member that is to claim two partitions."""
    membership = membership or Membership("g", 4, (1000, 500, 100), MEMBER)
    shared = SharedMembership(membership, lambda: 0.0)
    sent = shared.next_call("stay")
    assert shared.replied(sent, reply(sent.number, *BOTH)).claim == list(BOTH)
    return shared


def holding(membership: Membership | None = None) -> SharedMembership:
    """A member that holds two partitions."""
    shared = granted(membership)
    for each in BOTH:
        assert shared.claimed(each.partition, each.number)
    return shared


def test_a_release_during_a_call_is_reported_by_the_next_one() -> None:
    shared = holding()
    shared.not_held(0, 10)
    first = shared.next_call("stay")
    shared.not_held(1, 11, seen=99)
    assert shared.replied(first, reply(first.number)).report
    second = shared.next_call("stay")
    assert (first.reported, second.reported) == ({(0, 10)}, {(1, 11)})
    assert second.call.args[-3:] == (1, 11, 99)
    shared.replied(second, reply(second.number))
    assert not shared.must_report
    assert shared.held == {}


def test_a_release_in_another_thread_waits_for_the_call_that_is_being_made() -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Slow(Membership):
        def reported(self) -> set[tuple[int, int]]:
            found = super().reported()
            inside.set()
            go_on.wait(10)
            return found

    go_on.set()
    shared = holding(Slow("g", 4, (1000, 500, 100), MEMBER))
    go_on.clear()
    inside.clear()
    sent: list[SyncCall] = []
    calling = threading.Thread(target=lambda: sent.append(shared.next_call("stay")))
    calling.start()
    assert inside.wait(10)
    releasing = threading.Thread(target=shared.not_held, args=(0, 10))
    releasing.start()
    releasing.join(0.05)
    go_on.set()
    calling.join(10)
    releasing.join(10)
    assert sent[0].reported == set()
    assert sent[0].call.args[-4:] == (0, 10, 1, 11), "it holds both, and has released none"


def test_a_claim_counts_only_under_the_current_grant() -> None:
    shared = granted()
    sent = shared.next_call("stay")
    shared.replied(sent, reply(sent.number, Grant(0, 20, True), BOTH[1]))
    assert not shared.claiming(0, 10)
    assert not shared.claimed(0, 10)
    assert shared.held == {}
    assert shared.claiming(0, 20)
    assert shared.claimed(0, 20)
    assert shared.held == {0: 20}


def test_a_failed_claim_is_repeated_after_the_next_reply() -> None:
    shared = granted()
    shared.claim_failed(1, 11)
    sent = shared.next_call("stay")
    assert shared.replied(sent, reply(sent.number, *BOTH)).claim == [BOTH[1]]


def test_a_session_counts_from_the_first_sending_of_a_call_that_is_repeated() -> None:
    now = 100.0
    shared = SharedMembership(Membership("g", 4, (1000, 500, 100), MEMBER), lambda: now)
    first = shared.next_call("stay")
    now = 105.0
    repeat = shared.next_call("stay")
    assert (first.number, repeat.number) == (1, 1)
    assert (first.sent, repeat.sent) == (100.0, 100.0), "a repeat does not renew the session"
    shared.replied(repeat, reply(1))
    now = 106.0
    assert shared.next_call("stay").sent == 106.0


def test_a_release_is_to_be_reported_at_once() -> None:
    shared = holding()
    assert not shared.sync_now.is_set()
    shared.not_held(0, 10)
    assert shared.sync_now.is_set()
    assert shared.must_report


def test_a_heartbeat_of_the_thread_confirms_all_that_is_held_or_nothing() -> None:
    shared = holding()
    assert shared.confirms_all(reply(2, *BOTH, session_ms=3000))
    assert shared.session_seconds == 3.0, "the group decides it"
    assert not shared.confirms_all(reply(3, BOTH[0]))
    assert not shared.confirms_all(reply(4, Grant(0, 20, True), BOTH[1]))
    assert shared.held == {0: 10, 1: 11}
