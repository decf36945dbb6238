"""What is known of tables under one lease: undo, finished events, what a commit writes."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.core import pending_effects, table_state
from runnel.core.pending_effects import PendingEffects
from runnel.protocol import PartitionKeys, TableWrites
from tests.unit.known_tables import PREFIX, A, B, C, Lists, known, written


def test_a_field_must_be_read_before_it_is_used() -> None:
    it = known(A)
    assert it.tables.unknown(b"1-0", [b"a", b"b"]) == [("u", b"a"), ("t", b"b"), ("u", b"b")]
    with pytest.raises(KeyError):
        it.tables.get(B)
    with pytest.raises(KeyError):
        it.tables.put(B, b"1")
    it.tables.learn(B, None)
    assert it.tables.get(B) is None
    it.tables.put(B, b"1")
    assert it.tables.get(B) == b"1"


def test_what_was_written_counts_and_not_what_is_read_later() -> None:
    it = known(A, B)
    it.tables.put(A, b"1")
    it.tables.put(B, None)
    it.tables.learn(A, b"old")
    it.tables.learn(B, b"old")
    assert (it.tables.get(A), it.tables.get(B)) == (b"1", None)
    it.undo()
    assert (it.tables.get(A), it.tables.get(B)) == (b"0", b"0")


def test_undo_goes_back_to_the_last_finished_event() -> None:
    it = known(A, B)
    it.tables.put(A, b"1")
    it.finished(b"1-0", 1)
    for value in (b"2", None, b"3"):
        it.tables.put(A, value)
    it.tables.put(B, b"9")
    it.undo()
    assert (it.tables.get(A), it.tables.get(B)) == (b"1", b"0")
    it.finished(b"2-0", 1)
    assert it.begin_commit() is None
    assert written(it) == {A: b"1"}


def test_one_commit_writes_the_last_value_of_each_field_table_by_table() -> None:
    it = known(A, B, ("u", b"a"))
    it.tables.put(A, b"1")
    it.tables.put(B, b"1")
    it.finished(b"1-0", 1)
    it.tables.put(A, b"2")
    it.tables.put(B, None)
    it.tables.put(("u", b"a"), b"5")
    it.finished(b"2-0", 1)
    assert it.begin_commit() is None
    assert it.in_flight == (
        TableWrites(PREFIX, "t", [(b"a", b"2")], [b"b"]),
        TableWrites(PREFIX, "u", [(b"a", b"5")], []),
    )


def test_what_is_finished_during_a_commit_goes_with_the_next() -> None:
    it = known(A)
    it.tables.put(A, b"1")
    it.finished(b"1-0", 1)
    it.begin_commit()
    it.tables.put(A, b"2")
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
    monkeypatch.setattr(pending_effects, "MOST_FIELDS", 2)
    it = known(A, B, C)
    for number, field in enumerate((A, B, A, C, C), 1):
        it.tables.put(field, b"%d" % number)
        it.finished(b"%d-0" % number, 1)
    it.finished(b"6-0", 4)  # These write nothing.
    assert it.begin_commit() == (b"3-0", 6)
    assert written(it) == {A: b"3", B: b"2"}
    it.committed()
    assert it.begin_commit() is None
    assert written(it) == {C: b"5"}


def test_commits_are_split_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_effects, "MOST_BYTES", 10)
    it = known(A, B)
    for number, field in enumerate((A, B), 1):
        it.tables.put(field, b"12345")
        it.finished(b"%d-0" % number, 1)
    assert it.begin_commit() == (b"1-0", 1)
    it.committed()
    assert it.begin_commit() is None
    assert written(it) == {B: b"12345"}


def test_what_is_sealed_stays_unless_all_is_undone() -> None:
    it = known(A, B, C)
    it.tables.put(A, b"1")
    it.tables.put(B, b"1")
    it.seal()
    it.tables.put(A, b"2")
    it.seal()
    it.tables.put(A, b"3")
    it.tables.put(C, b"3")
    it.undo(sealed=False)
    assert [it.tables.get(each) for each in (A, B, C)] == [b"2", b"1", b"0"]
    it.undo()
    assert [it.tables.get(each) for each in (A, B, C)] == [b"0", b"0", b"0"]
    it.finished(b"1-0", 1)
    it.begin_commit()
    assert it.in_flight == ()


def test_fields_that_were_read_first_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_KNOWN", 8)
    it = PendingEffects(PartitionKeys(PREFIX, "work"), ["t"])
    keys = [b"%d" % number for number in range(20)]
    for key in keys:
        it.tables.learn(("t", key), b"0")
    it.tables.unknown(b"9-0", keys[:2])  # Of events that are not finished.
    it.tables.put(("t", keys[2]), b"1")  # To be written.
    it.finished(b"1-0", 1)
    left = [key for key in keys if ("t", key) not in it.tables.unknown(b"10-0", [key])]
    assert left == [*keys[:3], *keys[-3:]]
    it.begin_commit()
    it.committed()
    it.finished(b"10-0", 1)
    for key in keys[3:10]:
        it.tables.learn(("t", key), b"0")
    it.finished(b"11-0", 1)
    with pytest.raises(KeyError):
        it.tables.get(("t", keys[0]))


def test_what_is_changed_in_place_is_written() -> None:
    it = known(A, B, C, value=b"[]")
    lists: list[list[Any]] = [[], [], []]
    for field, value in zip((A, B, C), lists, strict=True):
        it.tables.lend(field, value, Lists(), b"[]")
    assert it.tables.lent(A, None) is lists[0]
    lists[0].append(1)
    it.tables.write_back([A])
    assert it.tables.get(A) == b"[1]"
    assert it.tables.lent(A, None) is lists[0], "it may change again"
    lists[0].append(2)
    lists[2].append(3)
    it.tables.put(C, None)  # The handler has replaced it.
    it.tables.write_back()
    it.finished(b"1-0", 1)
    assert it.tables.lent(A, None) is None
    lists[0].append(4)  # Its event is finished.
    it.tables.write_back()
    it.begin_commit()
    assert written(it) == {A: b"[1, 2]", C: None}


def test_a_change_in_place_is_undone_and_sealed_as_other_writes_are() -> None:
    it = known(A, value=b"[]")
    value: list[Any] = []
    it.tables.lend(A, value, Lists(), b"[]")
    value.append(1)
    it.seal()
    assert it.tables.lent(A, None) is None
    assert it.tables.get(A) == b"[1]"
    again: list[Any] = [1, 2]
    it.tables.lend(A, again, Lists(), b"[1]")
    it.undo(sealed=False)
    it.tables.write_back()
    assert it.tables.get(A) == b"[1]"
    it.undo()
    assert it.tables.get(A) == b"[]"


def test_after_a_server_has_lost_commits_all_is_read_again() -> None:
    it = known(A)
    it.tables.put(A, b"1")
    it.finished(b"1-0", 1)
    it.begin_commit()
    it.forget_all()
    it.committed()
    assert it.in_flight == ()
    assert A in it.tables.unknown(b"2-0", [b"a"])


def test_a_commit_says_after_how_many_seconds_the_keys_of_a_table_expire() -> None:
    names = PartitionKeys(PREFIX, "work")
    it = PendingEffects(names, ["t", "u"], expire={"u": 60})
    for table in ("t", "u"):
        it.tables.learn((table, b"a"), None)
        it.tables.put((table, b"a"), b"1")
    it.finished(b"1-0", 1)
    it.begin_commit()
    assert {each.name: each.expire for each in it.in_flight if isinstance(each, TableWrites)} == {
        "t": None,
        "u": 60,
    }
