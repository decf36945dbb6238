"""What is read of a held partition, and when it is suspected that events are lost."""

from __future__ import annotations

from dataclasses import replace

from runnel.core.reading import UNCOMMITTED, Raw, record_of
from runnel.protocol import CheckpointMove
from tests.unit.partition_states import CLAIMED, events, state


def test_a_record_that_was_decoded_is_given_out_once() -> None:
    raw: Raw = [b"1-0", [b"f", b"v"], "decoded before"]
    assert [record_of(raw, lambda fields: fields[1]) for _ in range(2)] == ["decoded before", b"v"]
    assert raw == [b"1-0", [b"f", b"v"]]


def test_no_more_is_read_while_too_much_is_uncommitted() -> None:
    it = state(*range(1, UNCOMMITTED + 1))
    it.hand_out(UNCOMMITTED)
    it.finish()
    request = it.next_read(1)
    assert request
    it.take_in(request, events(UNCOMMITTED + 1), cursor_exists=True)
    it.verified("0-0", exists=True)
    it.hand_out(1)
    it.finish()
    move = it.next_commit()
    assert move
    assert move.count > UNCOMMITTED
    assert it.next_read(1) is None
    it.committed(move)
    assert it.next_read(1) is not None


def test_s7_a_read_after_a_vanished_entry_suspects_a_loss() -> None:
    it = state(1, 2)
    request = it.next_read(100)
    assert request
    assert request.verify, "what was read is not committed yet"
    assert not it.take_in(request, events(9), cursor_exists=False)
    assert [each[0] for each in it.buffer] == [b"1-0", b"2-0"]


def test_s7_a_read_that_skips_the_entry_known_to_follow_suspects_a_loss() -> None:
    it = state(next_id="5-0")
    request = it.next_read(100)
    assert request
    assert not request.verify
    assert not it.take_in(request, events(6), cursor_exists=False)
    assert it.take_in(request, events(5, 6), cursor_exists=False)


def test_the_next_read_is_sent_when_one_read_is_in_the_buffer_and_not_before() -> None:
    it = state(*range(1, 112))
    assert it.next_read(100) is None
    for _ in range(11):
        it.hand_out(1)
        it.finish()
    assert it.next_read(100) is not None


def test_s7_without_an_entry_at_the_cursor_only_a_claim_tells_what_is_missing() -> None:
    it = state()
    request = it.next_read(100)
    assert request
    assert not request.verify
    assert not it.take_in(request, events(3), cursor_exists=False)
    it.hand_out(1)
    it.finish()
    assert it.next_commit() is None
    it.before_reclaim()
    it.reclaimed(replace(CLAIMED, next_id="3-0"))
    assert it.next_commit() == CheckpointMove("0-0", "3-0", 1)


def test_it_is_counted_how_often_reads_contradict_the_claims_before_them() -> None:
    """A primary that was replaced shows other events: to ask again at once would be a busy loop."""
    it = state(next_id="3-0")
    for number in (1, 2):
        request = it.next_read(100)
        assert request
        assert not it.take_in(request, events(2), cursor_exists=False)
        assert it.contradictions == number
        it.before_reclaim()
        it.reclaimed(replace(CLAIMED, next_id="3-0"))
        it.counting = False
    request = it.next_read(100)
    assert request
    assert it.take_in(request, events(3), cursor_exists=False)
    assert it.contradictions == 0


def test_nothing_is_read_while_a_claim_counts_what_is_there() -> None:
    it = state(1)
    it.hand_out(1)
    it.finish()
    move = it.next_commit()
    assert move
    it.committed(move)
    request = it.next_read(100)
    assert request
    it.before_reclaim()
    assert it.next_read(100) is None
    assert it.take_in(request, events(2), cursor_exists=True), "it was in flight, and is read again"
    assert not it.buffer, "the claim may count it as lost"
    it.counting = False
    it.reclaimed(replace(CLAIMED, checkpoint="1-0", next_id="3-0"))
    request = it.next_read(100)
    assert request
    assert it.take_in(request, events(3), cursor_exists=False)
    assert it.hand_out(1)[0][0] == b"3-0"


def test_a_closed_partition_takes_in_nothing() -> None:
    it = state(1)
    request = it.next_read(100)
    it.drain()
    assert request
    assert it.take_in(request, events(2), cursor_exists=True)
    assert [each[0] for each in it.buffer] == [b"1-0"]


def test_what_was_given_back_is_kept_only_as_far_as_it_may_wait() -> None:
    it = state(*range(1, 11))
    it.buffer_limit = 3
    it.hand_out(8)
    it.stop()
    it.rewind()
    it.shrink()
    assert [each[0] for each in it.buffer] == [b"1-0", b"2-0", b"3-0"]
    it.buffer_limit = 0
    it.shrink()
    assert len(it.buffer) == 1
