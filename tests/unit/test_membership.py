"""The core of a membership: the conversation with `sync`."""

from __future__ import annotations

from runnel.core.membership import Membership
from runnel.protocol import Grant, SyncReply


def member() -> Membership:
    return Membership("g", 4, (1000, 500, 100), ("a", "incarnation", "host 1 python 1"))


def reply(call: int, *grants: Grant) -> SyncReply:
    return SyncReply(call, 1, 1000, None, grants)


def test_what_is_granted_is_claimed_once() -> None:
    it = member()
    number, _ = it.next_call()
    grant = Grant(0, 10, True)
    assert it.replied(number, set(), reply(number, grant)).claim == [grant]
    number, _ = it.next_call()
    assert it.replied(number, set(), reply(number, grant)).claim == []
    it.claimed(0, 10)
    assert it.held == {0: 10}


def test_what_is_asked_back_or_granted_anew_is_drained() -> None:
    it = member()
    it.claimed(0, 10)
    it.claimed(1, 11)
    it.claimed(2, 12)
    number, _ = it.next_call()
    orders = it.replied(
        number, set(), reply(number, Grant(0, 10, True), Grant(1, 11, False), Grant(2, 99, True))
    )
    assert orders.drain == [1, 2]
    assert orders.claim == []


def test_what_was_let_go_is_reported_until_an_answer_counts() -> None:
    it = member()
    it.claimed(0, 10)
    it.let_go(0, 10)
    reported = it.reported()
    number, call = it.next_call()
    assert call.args[-3:] == (0, 10, 0)
    it.replied(number, reported, reply(number + 1))
    assert it.must_report, "a newer call of ours was seen: this one changed nothing"
    number, _ = it.next_call()
    it.replied(number, it.reported(), reply(number))
    assert not it.must_report


def test_a_stale_claim_reports_the_grant_that_it_met() -> None:
    it = member()
    number, _ = it.next_call()
    it.replied(number, set(), reply(number, Grant(3, 10, True)))
    it.let_go(3, 10, seen=55)
    assert it.next_call()[1].args[-3:] == (3, 10, 55)


def test_a_grant_to_give_back_that_was_never_claimed_is_given_back_at_once() -> None:
    it = member()
    number, _ = it.next_call()
    assert it.replied(number, set(), reply(number, Grant(1, 10, False))).report


def test_l4_a_sleeper_knows_from_a_reply_whether_others_hold_what_it_held() -> None:
    it = member()
    it.claimed(0, 10)
    it.claimed(1, 11)
    asked_back = reply(1, Grant(0, 10, True), Grant(1, 11, False))
    assert it.holds_what_is_granted(asked_back), "it holds what it is to give back"
    assert not it.holds_what_is_granted(reply(1, Grant(0, 10, True)))
    assert not it.holds_what_is_granted(reply(1, Grant(0, 10, True), Grant(1, 99, True)))


def test_the_first_call_is_repeated_until_one_is_answered() -> None:
    """A later one would be taken for the call of an earlier start under the same stable id."""
    it = member()
    first = it.next_call()
    assert first[0] == 1
    assert it.next_call() == first == it.next_call()
    it.replied(1, set(), reply(1))
    assert it.next_call()[0] == 2


def test_who_was_never_answered_leaves_with_a_call_of_its_own() -> None:
    it = member()
    it.next_call()
    assert it.next_call("retire")[0] == 1
    assert it.next_call("leave")[0] == 2, "else it would be taken for a repeat of the first"


def test_a_claim_under_way_counts_only_for_the_grant_that_stands() -> None:
    it = member()
    it.replied(1, set(), reply(1, Grant(0, 10, True), Grant(1, 11, True), Grant(2, 12, True)))
    orders = it.replied(2, set(), reply(2, Grant(0, 20, True), Grant(1, 11, False)))
    assert orders.claim == [Grant(0, 20, True)]
    claimed = {(0, 10): False, (0, 20): True, (1, 11): False, (2, 12): False}
    assert {each: it.claims(*each) for each in claimed} == claimed
