"""What is known of tables under one lease: undo, finished events, what a commit writes."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.core import table_state
from runnel.core.table_state import TableState
from runnel.protocol import TableWrites
from tests.unit.known_tables import PREFIX, A, B, C, Lists, known, written


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


def test_a_commit_says_after_how_many_seconds_the_keys_of_a_table_expire() -> None:
    it = TableState(PREFIX, ["t", "u"], {"u": 60})
    for table in ("t", "u"):
        it.learn((table, b"a"), None)
        it.put((table, b"a"), b"1")
    it.finished(b"1-0", 1)
    it.begin_commit()
    assert {each.name: each.expire for each in it.in_flight} == {"t": None, "u": 60}
