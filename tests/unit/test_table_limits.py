"""What a handler may write for its current events is bounded by what one commit may hold."""

from __future__ import annotations

import pytest

from runnel.core import table_state
from runnel.core.pending_effects import PendingEffects
from runnel.core.table_state import MOST_BYTES, MOST_FIELDS
from runnel.errors import TooManyWrites
from runnel.protocol import PartitionKeys, TableWrites
from tests.unit.known_tables import A, B, C
from tests.unit.known_tables import known as read

FIELD = "sums", b"key"


def known(*keys: bytes) -> PendingEffects:
    """A table of which these keys are known: they have no value."""
    state = PendingEffects(PartitionKeys("prefix", "work"), ["sums"])
    for key in keys:
        state.tables.learn(("sums", key), None)
    return state


def test_a_field_that_is_written_again_counts_once() -> None:
    state = known(b"key", b"other")
    for _ in range(10):
        state.tables.put(FIELD, b"x" * (MOST_BYTES // 2))
    state.tables.put(("sums", b"other"), b"y")
    state.finished(b"1-0", 1)
    assert state.begin_commit() is None
    (writes,) = state.in_flight
    assert isinstance(writes, TableWrites)
    assert writes.sets == [(b"key", b"x" * (MOST_BYTES // 2)), (b"other", b"y")]


def test_a_value_that_grows_beyond_the_bound_is_refused_and_changes_nothing() -> None:
    state = known(b"key")
    state.tables.put(FIELD, b"small")
    with pytest.raises(TooManyWrites):
        state.tables.put(FIELD, b"x" * MOST_BYTES)
    assert state.tables.get(FIELD) == b"small"
    state.undo()
    assert state.tables.get(FIELD) is None


def test_too_many_fields_are_refused() -> None:
    names = [b"%d" % i for i in range(MOST_FIELDS + 1)]
    state = known(*names)
    for name in names[:-1]:
        state.tables.put(("sums", name), b"v")
    with pytest.raises(TooManyWrites):
        state.tables.put(("sums", names[-1]), b"v")


def test_one_event_writes_no_more_than_one_commit_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_FIELDS", 2)
    monkeypatch.setattr(table_state, "MOST_BYTES", 100)
    it = read(A, B, C)
    it.tables.put(A, b"1")
    it.tables.put(B, b"1")
    with pytest.raises(TooManyWrites, match=r"table t: .* more than 2 keys or 100 bytes"):
        it.tables.put(C, b"1")
    assert it.tables.get(C) == b"0"
    for _ in range(200):
        it.tables.put(A, b"x" * 50)  # Only the last value is written, so only that counts.
    it.tables.put(B, b"")
    with pytest.raises(TooManyWrites):
        it.tables.put(A, b"x" * 100)
    assert it.tables.get(A) == b"x" * 50
    it.finished(b"1-0", 1)
    it.tables.put(C, b"1")
    it.undo()
    it.tables.put(C, b"y" * 90)


def test_a_limit_counts_what_is_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_state, "MOST_FIELDS", 2)
    it = read(A, B, C)
    it.tables.put(A, b"1")
    it.seal()
    it.tables.put(B, b"1")
    with pytest.raises(TooManyWrites):
        it.tables.put(C, b"1")
