"""A partition whose handler writes tables: what each commit covers and writes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runnel.core import pending_effects
from runnel.core.partition import PartitionState
from runnel.core.table_state import Field, TableState
from runnel.errors import EncodeError
from runnel.protocol import CheckpointMove, ClaimReply, PartitionKeys, Token
from tests.unit.known_tables import PREFIX, A, B, C, Lists, written
from tests.unit.partition_states import CLAIMED


def partition(*numbers: int, claimed_empty: bool = False) -> PartitionState:
    """A partition with tables, which has read these events. Its claim named the first; or none,
    since its log was empty then."""
    claimed = ClaimReply(
        epoch=7,
        checkpoint="0-0",
        processed=0,
        attempts=0,
        event="",
        unclean_tenures=0,
        paused=False,
        quarantined=False,
        lost=None,
        exact=True,
        checkpoint_exists=False,
        next_id="" if claimed_empty else f"{numbers[0]}-0",
    )
    it = PartitionState(0, PartitionKeys(PREFIX, "work"), 1, Token(7, "n"), claimed, ["t", "u"])
    request = it.next_read(100)
    assert request
    entries = [[b"%d-0" % number, [b"f", b"v"]] for number in numbers]
    assert it.take_in(request, entries, cursor_exists=True) != claimed_empty
    for field in (A, B, C):
        tables(it).learn(field, b"0")
    return it


def tables(it: PartitionState) -> TableState:
    assert it.tables
    return it.tables


def commit(it: PartitionState) -> tuple[CheckpointMove, dict[Field, bytes | None]]:
    """Make the next commit. Returns its move and what it writes."""
    move = it.next_commit()
    assert move
    assert it.next_commit() is move
    call = it.commit_call(move)
    assert it.effects
    writes = written(it.effects)
    assert call.script == ("transact" if writes else "commit")
    it.committed(move)
    it.committed(move)
    return move, writes


def test_a_commit_with_writes_is_a_transaction() -> None:
    it = partition(1, 2)
    it.hand_out(1)
    tables(it).put(A, b"1")
    it.finish()
    assert commit(it) == (CheckpointMove("0-0", "1-0", 1), {A: b"1"})
    it.hand_out(1)
    it.finish()
    assert commit(it) == (CheckpointMove("1-0", "2-0", 1), {})


def test_what_was_written_goes_with_the_events_that_are_finished() -> None:
    """A middleware has taken the second event ahead; the handler had the first."""
    it = partition(1, 2, 3)
    it.hand_out(2)
    tables(it).put(A, b"1")
    it.finish(0)
    assert it.next_commit() is None
    it.finish(1)
    assert [each[0] for each in it.current] == [b"2-0"]
    assert commit(it) == (CheckpointMove("0-0", "1-0", 1), {A: b"1"})
    tables(it).put(A, b"2")
    it.rewind()
    assert tables(it).get(A) == b"1"


def test_events_that_are_put_back_undo_nothing_of_those_that_stay() -> None:
    it = partition(1, 2)
    it.hand_out(1)
    tables(it).put(A, b"1")
    it.hand_out(1)
    it.rewind(keep=1)
    it.finish()
    assert commit(it) == (CheckpointMove("0-0", "1-0", 1), {A: b"1"})


def test_the_moves_of_split_commits_end_with_their_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_effects, "MOST_FIELDS", 1)
    it = partition(1, 2, 3, 4, 5)
    for field in (None, A, B, None, None):
        it.hand_out(1)
        if field:
            tables(it).put(field, b"1")
        it.finish()
    it.drain()
    it.handler_ended = True
    assert commit(it) == (CheckpointMove("0-0", "2-0", 2), {A: b"1"})
    assert not it.ended
    assert commit(it) == (CheckpointMove("2-0", "5-0", 3, release=True), {B: b"1"})
    assert it.ended


def test_an_event_that_is_given_up_writes_nothing() -> None:
    it = partition(1, 2)
    it.hand_out(1)
    tables(it).put(A, b"1")
    it.rewind()
    it.hand_out(1)
    it.skipped(it.next_skip())
    it.hand_out(1)
    tables(it).put(B, b"2")
    it.finish()
    assert commit(it) == (CheckpointMove("1-0", "2-0", 1), {B: b"2"})


def test_a_change_in_place_that_cannot_be_written_leaves_its_event_current() -> None:
    it = partition(1)
    it.hand_out(1)
    tables(it).lend(A, ["bad"], Lists(), b"[]")
    with pytest.raises(EncodeError):
        it.finish()
    assert it.current
    assert it.next_commit() is None


def test_after_a_refusal_the_lease_is_released_where_it_was() -> None:
    it = partition(1, 2)
    it.hand_out(1)
    tables(it).put(A, b"1")
    it.finish()
    move = it.next_commit()
    assert move
    it.hand_out(1)
    it.refuse(ValueError("another processor writes it"))
    assert not it.open
    it.committed(move)
    assert not it.finish()
    assert it.next_commit() is None
    it.handler_ended = True
    assert commit(it) == (CheckpointMove("0-0", "0-0", 0, release=True), {})


def test_what_was_counted_as_lost_is_not_written_when_the_lease_is_released() -> None:
    it = partition(1)
    it.hand_out(1)
    tables(it).put(A, b"1")
    it.finish()
    it._finished_count, it._finished = 0, b"0-0"  # As `reclaimed` leaves it.
    it.drain()
    it.handler_ended = True
    assert commit(it) == (CheckpointMove("0-0", "0-0", 0, release=True), {})


def test_s5_an_event_that_the_log_has_lost_writes_nothing() -> None:
    """A primary that was replaced showed it, and its producer sends it again."""
    it = partition(1, claimed_empty=True)
    it.hand_out(1)
    tables(it).put(A, b"1")
    it.finish()
    it.before_reclaim()
    it.reclaimed(replace(CLAIMED, next_id="2-0"))
    assert it.ended, "what it wrote must not go with the commit of the next event"
    assert it.next_commit() is None


def test_an_event_that_the_log_still_has_writes_as_before() -> None:
    it = partition(1, claimed_empty=True)
    it.hand_out(1)
    tables(it).put(A, b"1")
    it.finish()
    it.before_reclaim()
    it.reclaimed(replace(CLAIMED, next_id="1-0"))
    assert commit(it) == (CheckpointMove("0-0", "1-0", 1), {A: b"1"})
