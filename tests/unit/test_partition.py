"""The state of one held partition: handing out, committing, losses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runnel.core.partition import PartitionState
from runnel.protocol import CheckpointMove, Sink, StreamContract
from tests.unit.partition_states import CLAIMED, events, state, unverified

SINK = Sink("runnel:{a:alerts:0}:alerts", StreamContract(4, "xxh64"), 100, derived=False)


def test_events_are_handed_out_in_order_and_one_commit_covers_several() -> None:
    it = state(1, 2, 3, 4)
    assert it.hand_out(1) == events(1)
    it.finish()
    first = it.next_commit()
    assert first == CheckpointMove("0-0", "1-0", 1)
    for number in (2, 3):
        assert it.hand_out(1) == events(number)
        it.finish()
    assert it.next_commit() is first, "one is in flight: send the same again"
    it.committed(first)
    assert it.next_commit() == CheckpointMove("1-0", "3-0", 2)


def test_current_events_are_never_committed() -> None:
    it = state(1, 2)
    it.hand_out(2)
    assert it.next_commit() is None
    it.rewind()
    assert it.hand_out(1) == events(1)


def test_a_draining_partition_hands_out_no_more_and_releases_when_idle() -> None:
    it = state(1, 2)
    it.hand_out(1)
    it.drain()
    assert not it.open
    it.finish()
    assert it.next_commit() == CheckpointMove("0-0", "1-0", 1, release=False)
    it.committed(CheckpointMove("0-0", "1-0", 1))
    assert it.next_commit() is None
    it.handler_ended = True
    release = it.next_commit()
    assert release == CheckpointMove("1-0", "1-0", 0, release=True)
    it.committed(release)
    assert it.ended
    assert it.next_commit() is None


def test_a_checkpoint_is_stuck_if_only_the_current_event_can_move_it() -> None:
    it = state(1, 2)
    assert not it.stuck_at("0-0")
    it.hand_out(1)
    assert it.stuck_at("0-0")
    it.finish()
    it.hand_out(1)
    assert not it.stuck_at("0-0")  # There is something to commit,
    move = it.next_commit()
    assert not it.stuck_at("0-0")  # which is under way,
    assert move is not None
    it.committed(move)
    assert not it.stuck_at("0-0")  # and has moved it since that was seen.
    assert it.stuck_at("1-0")


def test_s7_events_after_an_unverified_cursor_are_handed_out_but_not_committed() -> None:
    it = state(1)
    it.hand_out(1)
    it.finish()
    first = it.next_commit()
    assert first
    it.committed(first)
    it.verify_next = False
    request = it.next_read(100)
    assert request
    assert not request.verify
    assert it.take_in(request, events(2), cursor_exists=False)
    assert it.hand_out(1) == events(2)
    it.finish()
    assert it.next_commit() is None
    assert not it.verified("1-0", exists=False), "then it is claimed again"
    assert it.verified("1-0", exists=True)
    assert it.next_commit() == CheckpointMove("1-0", "2-0", 1)


def test_a_failed_batch_is_handed_out_one_by_one_until_it_is_finished() -> None:
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


def test_s7_nothing_is_committed_until_the_cursor_is_verified() -> None:
    it = unverified(2, 3)
    it.hand_out(2)
    it.finish()
    assert it.next_commit() is None
    assert it.verified("1-0", exists=True)
    assert it.next_commit() == CheckpointMove("1-0", "3-0", 2)


def test_s7_a_finished_event_that_was_counted_as_lost_is_not_counted_twice() -> None:
    it = unverified(2, 3, 4, 5)
    it.hand_out(1)
    it.finish()
    it.hand_out(1)
    assert not it.verified("1-0", exists=False)
    assert it.next_read(100) is None, "nothing more is read until it is claimed again"
    it.before_reclaim()
    # The claim found 2, 3 and 4 gone, and counted them.
    it.reclaimed(replace(CLAIMED, checkpoint="1-0", next_id="5-0"))
    assert it.next_commit() is None, "2 is finished, but is counted as lost"
    assert it.finish(), "a task may wait until all is committed, and no commit will wake it"
    assert it.next_commit() is None
    it.hand_out(2)
    it.finish()
    assert it.next_commit() == CheckpointMove("1-0", "5-0", 1)


def test_s7_an_event_read_during_a_claim_and_gone_at_its_reply_is_counted_once() -> None:
    it = unverified(2)
    request = it.next_read(100)
    assert request
    it.before_reclaim()
    assert it.take_in(request, events(3), cursor_exists=True)
    it.hand_out(2)
    it.finish()
    it.reclaimed(replace(CLAIMED, checkpoint="1-0", next_id="5-0"))
    assert it.next_commit() is None, "2 and 3 are finished, but are counted as lost"


def test_s5_an_event_that_the_log_has_lost_emits_nothing() -> None:
    it = unverified(2)
    it.hand_out(1)
    it.before_reclaim()
    it.reclaimed(replace(CLAIMED, checkpoint="1-0", next_id="5-0"))
    assert not it.ended, "a handler that writes nothing may finish it"
    it.emit(SINK, [b"f", b"v"])
    assert it.ended
    it.finish()
    assert it.next_commit() is None


def test_it_is_unknown_whether_an_event_is_given_up_until_redis_replies() -> None:
    it = state(1)
    it.hand_out(1)
    move = it.next_skip()
    assert it.skip_in_flight
    it.skipped(move)
    assert not it.skip_in_flight


def test_a_partition_is_held_stopped_until_it_drains() -> None:
    it = state(1)
    assert not it.held_stopped
    it.stop()
    assert it.held_stopped
    it.drain()
    assert not it.held_stopped


def emitting(*, one_slot: bool = True, **claimed: object) -> PartitionState:
    """A partition whose handler has emitted for its first event to a stream in another slot."""
    it = state(1, 2, **claimed)
    it.to_outbox |= one_slot
    it.hand_out(1)
    it.emit(SINK, [b"f", b"v"])
    it.finish()
    return it


def test_the_commit_that_fills_the_outbox_does_not_release_and_forwarding_delays_the_release() -> (
    None
):
    it = emitting()
    it.drain()
    it.handler_ended = True
    move = it.next_commit()
    assert move
    assert it.fills_outbox
    assert (move.next, move.release) == ("1-0", False)
    it.committed(move)
    it.forwarding = True
    assert it.next_commit() is None
    it.forwarding = False
    move = it.next_commit()
    assert move
    assert move.release
    assert not it.fills_outbox


def test_a_lease_that_finds_an_outbox_fills_it_on_one_server_too() -> None:
    for waiting in (3, 0):
        it = emitting(outbox=waiting, one_slot=False)
        assert it.next_commit()
        assert it.fills_outbox == bool(waiting)


@pytest.mark.parametrize("emits", [True, False])
def test_a_lease_that_has_filled_the_outbox_ends_when_the_server_has_lost_commits(
    emits: bool,
) -> None:
    it = emitting() if emits else state(1, 2)
    if not emits:
        it.hand_out(1)
        it.finish()
    move = it.next_commit()
    assert move
    it.committed(move)
    it.hand_out(1)
    it.finish()
    move = it.next_commit()
    assert move
    it.committed(move)
    it.before_reclaim()
    it.reclaimed(replace(CLAIMED, checkpoint="1-0"))
    assert it.checkpoint == "1-0"
    assert it.draining is emits
