"""The core of one held partition."""

from __future__ import annotations

from dataclasses import replace

from runnel.core.partition import UNCOMMITTED, PartitionState, Raw
from runnel.protocol import CheckpointMove, ClaimReply, PartitionKeys, Token

CLAIMED = ClaimReply(
    epoch=7,
    checkpoint="0-0",
    processed=0,
    attempts=0,
    event="",
    tenures=0,
    paused=False,
    quarantined=False,
    lost=None,
    exact=True,
    checkpoint_exists=False,
    next_id="",
)


def events(*numbers: int) -> list[Raw]:
    return [(b"%d-0" % number, [b"f", b"v"]) for number in numbers]


def state(*numbers: int, **claimed: object) -> PartitionState:
    """A partition that has read events with these numbers, of which its claim told the first."""
    if numbers:
        claimed = {"next_id": f"{numbers[0]}-0", **claimed}
    reply = replace(CLAIMED, **claimed)  # type: ignore[arg-type]
    found = PartitionState(0, PartitionKeys("p", "work"), 1, Token(7, "n"), reply)
    if numbers:
        wanted = found.wants(100)
        assert wanted
        assert found.read(wanted, events(*numbers), anchor=True)
    return found


def test_events_go_out_in_order_and_one_commit_covers_what_gathered() -> None:
    it = state(1, 2, 3, 4)
    assert it.hand_out(1) == events(1)
    it.finish()
    first = it.next_commit()
    assert first == CheckpointMove("0-0", "1-0", 1)
    for number in (2, 3):
        assert it.hand_out(1) == events(number)
        it.finish()
    assert it.next_commit() is first, "one is in flight: the same bytes again"
    it.committed(first)
    assert it.next_commit() == CheckpointMove("1-0", "3-0", 2)


def test_no_more_is_read_while_too_much_waits_for_its_commit() -> None:
    it = state(*range(1, UNCOMMITTED + 1))
    it.hand_out(UNCOMMITTED)
    it.finish()
    wanted = it.wants(1)
    assert wanted
    it.read(wanted, events(UNCOMMITTED + 1), anchor=True)
    it.verified("0-0", there=True)
    it.hand_out(1)
    it.finish()
    step = it.next_commit()
    assert step
    assert step.count > UNCOMMITTED
    assert it.wants(1) is None
    it.committed(step)
    assert it.wants(1) is not None


def test_what_is_in_hand_is_never_committed() -> None:
    it = state(1, 2)
    it.hand_out(2)
    assert it.next_commit() is None
    it.rewind()
    assert it.hand_out(1) == events(1)


def test_a_draining_lane_hands_out_no_more_and_releases_when_idle() -> None:
    it = state(1, 2)
    it.hand_out(1)
    it.drain()
    assert not it.open
    it.finish()
    assert it.next_commit() == CheckpointMove("0-0", "1-0", 1, release=False)
    it.committed(CheckpointMove("0-0", "1-0", 1))
    assert it.next_commit() is None
    it.idle = True
    release = it.next_commit()
    assert release == CheckpointMove("1-0", "1-0", 0, release=True)
    it.committed(release)
    assert it.over
    assert it.next_commit() is None


def test_a_checkpoint_is_stuck_once_only_what_is_in_hand_would_move_it() -> None:
    it = state(1, 2)
    assert not it.stuck_at("0-0")
    it.hand_out(1)
    assert it.stuck_at("0-0")
    it.finish()
    it.hand_out(1)
    assert not it.stuck_at("0-0")  # There is something to commit,
    step = it.next_commit()
    assert not it.stuck_at("0-0")  # which is under way,
    assert step is not None
    it.committed(step)
    assert not it.stuck_at("0-0")  # and has moved it since that was seen.
    assert it.stuck_at("1-0")


def test_s7_a_read_behind_a_vanished_entry_is_not_believed() -> None:
    it = state(1, 2)
    wanted = it.wants(100)
    assert wanted
    assert wanted.look, "what was read is not committed yet"
    assert not it.read(wanted, events(9), anchor=False)
    assert [each[0] for each in it.buffer] == [b"1-0", b"2-0"]


def test_s7_at_rest_events_go_out_before_the_look_but_are_not_committed_before_it() -> None:
    it = state(1)
    it.hand_out(1)
    it.finish()
    first = it.next_commit()
    assert first
    it.committed(first)
    it.verify_next = False
    wanted = it.wants(100)
    assert wanted
    assert not wanted.look
    assert it.read(wanted, events(2), anchor=False)
    assert it.hand_out(1) == events(2)
    it.finish()
    assert it.next_commit() is None
    assert not it.verified("1-0", there=False), "then it is claimed again"
    assert it.verified("1-0", there=True)
    assert it.next_commit() == CheckpointMove("1-0", "2-0", 1)


def test_s7_a_read_that_skips_the_entry_known_to_follow_is_not_believed() -> None:
    it = state(next_id="5-0")
    wanted = it.wants(100)
    assert wanted
    assert not wanted.look
    assert not it.read(wanted, events(6), anchor=False)
    assert it.read(wanted, events(5, 6), anchor=False)


def test_a_failing_batch_is_taken_apart_until_it_is_passed() -> None:
    it = state(1, 2, 3)
    it.hand_out(2)
    it.rewind()
    it.suspicion.isolate(b"2-0")
    sizes = []
    while it.buffer:
        sizes.append(len(it.hand_out(5)))
        it.finish()
    assert sizes == [1, 1, 1]
    assert not it.suspicion.careful


def test_failures_are_counted_for_one_event_and_forgotten_when_it_is_done() -> None:
    it = state(1, 2, attempts=2, event="1-0")
    it.hand_out(1)
    assert it.suspicion.failed(b"1-0") == 3
    it.finish()
    it.hand_out(1)
    assert it.suspicion.failed(b"2-0") == 1


def test_the_next_read_begins_when_one_is_in_the_buffer_and_not_before() -> None:
    it = state(*range(1, 112))
    assert it.wants(100) is None
    for _ in range(11):
        it.hand_out(1)
        it.finish()
    assert it.wants(100) is not None


def doubtful(*numbers: int) -> PartitionState:
    """A partition that had read and committed event 1, and has read these without a look at it."""
    it = state(1)
    it.hand_out(1)
    it.finish()
    step = it.next_commit()
    assert step
    it.committed(step)
    wanted = it.wants(100)
    assert wanted
    assert not wanted.look
    assert it.read(wanted, events(*numbers), anchor=False)
    assert it.unverified_from == "1-0"
    return it


def test_s7_nothing_in_doubt_is_committed_until_the_look() -> None:
    it = doubtful(2, 3)
    it.hand_out(2)
    it.finish()
    assert it.next_commit() is None
    assert it.verified("1-0", there=True)
    assert it.next_commit() == CheckpointMove("1-0", "3-0", 2)


def test_s7_what_was_done_in_doubt_and_counted_as_lost_is_not_counted_twice() -> None:
    it = doubtful(2, 3, 4, 5)
    it.hand_out(1)
    it.finish()
    it.hand_out(1)
    assert not it.verified("1-0", there=False)
    assert it.wants(100) is None, "nothing more is read until it was claimed again"
    it.ask()
    # The claim found 2, 3 and 4 gone, and counted them.
    it.reclaimed(replace(CLAIMED, checkpoint="1-0", next_id="5-0"))
    assert it.next_commit() is None, "2 was done, but is counted"
    assert it.finish(), "somebody may wait for rest, and no commit will tell"
    assert it.next_commit() is None
    it.hand_out(2)
    it.finish()
    assert it.next_commit() == CheckpointMove("1-0", "5-0", 1)


def test_s7_what_is_read_during_a_claim_and_gone_at_its_answer_is_counted_once() -> None:
    it = doubtful(2)
    wanted = it.wants(100)
    assert wanted
    it.ask()
    assert it.read(wanted, events(3), anchor=True)
    it.hand_out(2)
    it.finish()
    it.reclaimed(replace(CLAIMED, checkpoint="1-0", next_id="5-0"))
    assert it.next_commit() is None, "2 and 3 were done, but are counted"


def test_s7_with_no_entry_at_the_cursor_only_a_claim_tells_what_was_before_the_first() -> None:
    it = state()
    wanted = it.wants(100)
    assert wanted
    assert not wanted.look
    assert not it.read(wanted, events(3), anchor=False)
    it.hand_out(1)
    it.finish()
    assert it.next_commit() is None
    it.ask()
    it.reclaimed(replace(CLAIMED, next_id="3-0"))
    assert it.next_commit() == CheckpointMove("0-0", "3-0", 1)


def test_nothing_is_read_while_a_claim_counts_what_is_there() -> None:
    it = state(1)
    it.hand_out(1)
    it.finish()
    step = it.next_commit()
    assert step
    it.committed(step)
    wanted = it.wants(100)
    assert wanted
    it.ask()
    assert it.wants(100) is None
    assert it.read(wanted, events(2), anchor=True), "it was on its way, and comes again"
    assert not it.buffer, "the claim may count it as lost"
    it.counting = False
    it.reclaimed(replace(CLAIMED, checkpoint="1-0", next_id="3-0"))
    wanted = it.wants(100)
    assert wanted
    assert it.read(wanted, events(3), anchor=False)
    assert it.hand_out(1)[0][0] == b"3-0"


def test_the_end_of_an_event_that_was_given_up_is_unknown_until_it_is_answered() -> None:
    it = state(1)
    it.hand_out(1)
    step = it.set_aside()
    assert it.giving_up
    it.finish_aside(step)
    assert not it.giving_up


def test_a_lane_that_closed_takes_nothing_in() -> None:
    it = state(1)
    wanted = it.wants(100)
    it.drain()
    assert wanted
    assert it.read(wanted, events(2), anchor=True)
    assert [each[0] for each in it.buffer] == [b"1-0"]


def test_a_lane_rests_while_it_is_parked_and_not_wanted_elsewhere() -> None:
    it = state(1)
    assert not it.resting
    it.pause()
    assert it.resting
    it.drain()
    assert not it.resting
