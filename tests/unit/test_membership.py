"""What a member calls, and what follows from the replies."""

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


def test_what_is_no_longer_granted_or_has_a_new_grant_is_drained() -> None:
    it = member()
    it.claimed(0, 10)
    it.claimed(1, 11)
    it.claimed(2, 12)
    number, _ = it.next_call()
    actions = it.replied(
        number, set(), reply(number, Grant(0, 10, True), Grant(1, 11, False), Grant(2, 99, True))
    )
    assert actions.drain == [1, 2]
    assert actions.claim == []


def test_a_release_is_reported_until_a_reply_confirms_it() -> None:
    it = member()
    it.claimed(0, 10)
    it.not_held(0, 10)
    reported = it.reported()
    number, call = it.next_call()
    assert call.args[-3:] == (0, 10, 0)
    it.replied(number, reported, reply(number + 1))
    assert it.must_report, "Redis has seen a newer call, so this one changed nothing"
    number, _ = it.next_call()
    it.replied(number, it.reported(), reply(number))
    assert not it.must_report


def test_a_refused_claim_reports_the_grant_that_it_met() -> None:
    it = member()
    number, _ = it.next_call()
    it.replied(number, set(), reply(number, Grant(3, 10, True)))
    it.not_held(3, 10, seen=55)
    assert it.next_call()[1].args[-3:] == (3, 10, 55)


def test_a_revoked_grant_that_was_never_claimed_is_reported_as_released_at_once() -> None:
    it = member()
    number, _ = it.next_call()
    assert it.replied(number, set(), reply(number, Grant(1, 10, False))).report


def test_l4_after_a_sleep_a_reply_tells_whether_others_hold_what_this_member_held() -> None:
    it = member()
    it.claimed(0, 10)
    it.claimed(1, 11)
    to_release = reply(1, Grant(0, 10, True), Grant(1, 11, False))
    assert it.all_listed(to_release), "it still holds what it must release"
    assert not it.all_listed(reply(1, Grant(0, 10, True)))
    assert not it.all_listed(reply(1, Grant(0, 10, True), Grant(1, 99, True)))


def test_the_first_call_is_repeated_until_one_is_answered() -> None:
    """A later call would be taken for one of an earlier start under the same stable id."""
    it = member()
    first = it.next_call()
    assert first[0] == 1
    assert it.next_call() == first == it.next_call()
    it.replied(1, set(), reply(1))
    assert it.next_call()[0] == 2


def test_a_member_without_any_reply_leaves_with_a_new_call() -> None:
    it = member()
    it.next_call()
    assert it.next_call("retire")[0] == 1
    assert it.next_call("leave")[0] == 2, "otherwise it would be taken for a repeat of the first"


def test_a_claim_in_flight_counts_only_for_the_current_grant() -> None:
    it = member()
    it.replied(1, set(), reply(1, Grant(0, 10, True), Grant(1, 11, True), Grant(2, 12, True)))
    actions = it.replied(2, set(), reply(2, Grant(0, 20, True), Grant(1, 11, False)))
    assert actions.claim == [Grant(0, 20, True)]
    claimed = {(0, 10): False, (0, 20): True, (1, 11): False, (2, 12): False}
    assert {each: it.claiming(*each) for each in claimed} == claimed
