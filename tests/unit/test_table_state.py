"""What is known of tables under one lease: undo, finished events, limits, what a commit writes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runnel.core import table_state
from runnel.core.partition import PartitionState
from runnel.core.table_state import Field, TableState
from runnel.errors import EncodeError, TooManyWrites
from runnel.protocol import CheckpointMove, ClaimReply, PartitionKeys, TableWrites, Token

PREFIX = "runnel:{shop:orders:3}:orders"
A, B, C = ("t", b"a"), ("t", b"b"), ("t", b"c")


def known(*fields: Field, value: bytes | None = b"0") -> TableState:
    """Two tables of which these fields were read."""
    it = TableState(PREFIX, ["t", "u"])
    for field in fields:
        it.learn(field, value)
    return it


def written(it: TableState) -> dict[Field, bytes | None]:
    """What the commit in flight writes."""
    found: dict[Field, bytes | None] = {}
    for each in it.in_flight:
        assert isinstance(each, TableWrites)
        found |= {(each.name, key): value for key, value in each.sets}
        found |= {(each.name, key): None for key in each.deletes}
    return found


def test_a_field_must_be_read_before_it_is_used() -> None:
    it = known(A)
    assert it.unknown(b"1-0", [b"a", b"b"]) == [("u", b"a"), ("t", b"b"), ("u", b"b")]
    with pytest.raises(KeyError):
        it.get(B)
    with pytest.raises(KeyError):
        it.put(B, b"1")
    it.learn(B, None)
    assert it.get(B) is None
    it.put(B, b"1")
    assert it.get(B) == b"1"


def test_what_was_written_counts_and_not_what_is_read_later() -> None:
    it = known(A, B)
    it.put(A, b"1")
    it.put(B, None)
    it.learn(A, b"old")
    it.learn(B, b"old")
    assert (it.get(A), it.get(B)) == (b"1", None)
    it.undo()
    assert (it.get(A), it.get(B)) == (b"0", b"0")


def test_undo_goes_back_to_the_last_finished_event() -> None:
    it = known(A, B)
    it.put(A, b"1")
    it.finished(b"1-0", 1)
    for value in (b"2", None, b"3"):
        it.put(A, value)
    it.put(B, b"9")
    it.undo()
    assert (it.get(A), it.get(B)) == (b"1", b"0")
    it.finished(b"2-0", 1)
    assert it.begin_commit() is None
    assert written(it) == {A: b"1"}


def test_one_commit_writes_the_last_value_of_each_field_table_by_table() -> None:
    it = known(A, B, ("u", b"a"))
    it.put(A, b"1")
    it.put(B, b"1")
    it.finished(b"1-0", 1)
    it.put(A, b"2")
    it.put(B, None)
    it.put(("u", b"a"), b"5")
    it.finished(b"2-0", 1)
    assert it.begin_commit() is None
    assert it.in_flight == (
        TableWrites(PREFIX, "t", [(b"a", b"2")], [b"b"]),
        TableWrites(PREFIX, "u", [(b"a", b"5")], []),
    )


def test_what_is_finished_during_a_commit_goes_with_the_next() -> None:
    it = known(A)
    it.put(A, b"1")
    it.finished(b"1-0", 1)
    it.begin_commit()
    it.put(A, b"2")
    it.finished(b"2-0", 1)
    assert written(it) == {A: b"1"}
    it.committed()
    assert it.in_flight == ()
    it.committed()  # The commit was sent twice: the second reply says nothing new.
    it.begin_commit()
    assert written(it) == {A: b"2"}
    it.committed()
    it.begin_commit()
    assert it.in_flight == ()


def test_commits_are_split_between_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_FIELDS", 2)
    it = known(A, B, C)
    for number, field in enumerate((A, B, A, C, C), 1):
        it.put(field, b"%d" % number)
        it.finished(b"%d-0" % number, 1)
    it.finished(b"6-0", 4)  # These write nothing.
    assert it.begin_commit() == (b"3-0", 6)
    assert written(it) == {A: b"3", B: b"2"}
    it.committed()
    assert it.begin_commit() is None
    assert written(it) == {C: b"5"}


def test_commits_are_split_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_BYTES", 10)
    it = known(A, B)
    for number, field in enumerate((A, B), 1):
        it.put(field, b"12345")
        it.finished(b"%d-0" % number, 1)
    assert it.begin_commit() == (b"1-0", 1)
    it.committed()
    assert it.begin_commit() is None
    assert written(it) == {B: b"12345"}


def test_one_event_writes_no_more_than_one_commit_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_FIELDS", 2)
    monkeypatch.setattr(table_state, "MOST_BYTES", 100)
    it = known(A, B, C)
    it.put(A, b"1")
    it.put(B, b"1")
    with pytest.raises(TooManyWrites, match=r"table t: .* more than 2 keys or 100 bytes"):
        it.put(C, b"1")
    assert it.get(C) == b"0"
    for _ in range(200):
        it.put(A, b"x" * 50)  # Only the last value is written, so only that counts.
    it.put(B, b"")
    with pytest.raises(TooManyWrites):
        it.put(A, b"x" * 100)
    assert it.get(A) == b"x" * 50
    it.finished(b"1-0", 1)
    it.put(C, b"1")
    it.undo()
    it.put(C, b"y" * 90)


def test_a_limit_counts_what_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_FIELDS", 2)
    it = known(A, B, C)
    it.put(A, b"1")
    it.seal()
    it.put(B, b"1")
    with pytest.raises(TooManyWrites):
        it.put(C, b"1")


def test_what_is_sealed_stays_unless_all_is_undone() -> None:
    it = known(A, B, C)
    it.put(A, b"1")
    it.put(B, b"1")
    it.seal()
    it.put(A, b"2")
    it.seal()
    it.put(A, b"3")
    it.put(C, b"3")
    it.undo(sealed=False)
    assert [it.get(each) for each in (A, B, C)] == [b"2", b"1", b"0"]
    it.undo()
    assert [it.get(each) for each in (A, B, C)] == [b"0", b"0", b"0"]
    it.finished(b"1-0", 1)
    it.begin_commit()
    assert it.in_flight == ()


def test_fields_that_were_read_first_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_KNOWN", 8)
    it = TableState(PREFIX, ["t"])
    keys = [b"%d" % number for number in range(20)]
    for key in keys:
        it.learn(("t", key), b"0")
    it.unknown(b"9-0", keys[:2])  # Of events that are not finished.
    it.put(("t", keys[2]), b"1")  # To be written.
    it.finished(b"1-0", 1)
    left = [key for key in keys if ("t", key) not in it.unknown(b"10-0", [key])]
    assert left == [*keys[:3], *keys[-3:]]
    it.begin_commit()
    it.committed()
    it.finished(b"10-0", 1)
    for key in keys[3:10]:
        it.learn(("t", key), b"0")
    it.finished(b"11-0", 1)
    with pytest.raises(KeyError):
        it.get(("t", keys[0]))


class Lists:
    """Compares lists by their JSON."""

    def changed(self, value: Any, since: bytes) -> bytes | None:
        data = json.dumps(value).encode()
        if b"bad" in data:
            raise EncodeError("bad")
        return None if data == since else data


def test_what_is_changed_in_place_is_written() -> None:
    it = known(A, B, C, value=b"[]")
    lists: list[list[Any]] = [[], [], []]
    for field, value in zip((A, B, C), lists, strict=True):
        it.lend(field, value, Lists(), b"[]")
    assert it.lent(A, None) is lists[0]
    lists[0].append(1)
    it.write_back([A])
    assert it.get(A) == b"[1]"
    assert it.lent(A, None) is lists[0], "it may change again"
    lists[0].append(2)
    lists[2].append(3)
    it.put(C, None)  # The handler has replaced it.
    it.write_back()
    it.finished(b"1-0", 1)
    assert it.lent(A, None) is None
    lists[0].append(4)  # Its event is finished.
    it.write_back()
    it.begin_commit()
    assert written(it) == {A: b"[1, 2]", C: None}


def test_a_change_in_place_is_undone_and_sealed_as_other_writes_are() -> None:
    it = known(A, value=b"[]")
    value: list[Any] = []
    it.lend(A, value, Lists(), b"[]")
    value.append(1)
    it.seal()
    assert it.lent(A, None) is None
    assert it.get(A) == b"[1]"
    again: list[Any] = [1, 2]
    it.lend(A, again, Lists(), b"[1]")
    it.undo(sealed=False)
    it.write_back()
    assert it.get(A) == b"[1]"
    it.undo()
    assert it.get(A) == b"[]"


def test_after_a_server_has_lost_commits_all_is_read_again() -> None:
    it = known(A)
    it.put(A, b"1")
    it.finished(b"1-0", 1)
    it.begin_commit()
    it.forget_all()
    it.committed()
    assert it.in_flight == ()
    assert A in it.unknown(b"2-0", [b"a"])


# With the partition


def partition(*numbers: int) -> PartitionState:
    """A partition with tables, which has read these events."""
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
        next_id=f"{numbers[0]}-0",
    )
    it = PartitionState(0, PartitionKeys(PREFIX, "work"), 1, Token(7, "n"), claimed, ["t", "u"])
    request = it.next_read(100)
    assert request
    entries = [(b"%d-0" % number, [b"f", b"v"]) for number in numbers]
    assert it.take_in(request, entries, cursor_exists=True)
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
    writes = written(tables(it))
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
    monkeypatch.setattr(table_state, "MOST_FIELDS", 1)
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
