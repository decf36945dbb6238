"""Events that are processed beside others: whose writes they see, and which commit has them."""

from __future__ import annotations

import pytest

from runnel.core.own_effects import OwnEffects, OwnTables, finish_each
from runnel.core.partition import PartitionState
from runnel.core.table_state import MOST_BYTES, MOST_FIELDS, Field
from runnel.errors import EncodeError, HandlerError, TooManyWrites
from runnel.protocol import CheckpointMove, Entries, Sink, StreamContract, TableWrites
from tests.unit.known_tables import A, B, C, Lists
from tests.unit.partition_states import state
from tests.unit.test_partition_tables import commit, partition, tables


def sink(name: str) -> Sink:
    prefix = f"runnel:{{shop:orders:3}}:{name}"
    return Sink(prefix, StreamContract(8, "xxh64"), 100, derived=True)


SINK = sink("mails")


def own(it: PartitionState, *, key: bytes | None = None) -> tuple[OwnEffects, OwnTables]:
    """The effects of one more event, and its tables."""
    made = OwnEffects(it, key=key)
    assert made.tables is not None
    return made, made.tables


def wrote(it: PartitionState, field: Field, value: bytes) -> OwnEffects:
    """The effects of an event that has written this and is done."""
    made, seen = own(it)
    seen.put(field, value)
    made.done()
    made.show()
    return made


def nothing(it: PartitionState) -> OwnEffects:
    """Those of an event that has written nothing and is done."""
    made = OwnEffects(it)
    made.done()
    return made


def test_an_event_sees_its_own_writes_and_others_do_not_before_it_is_done() -> None:
    it = partition(1, 2)
    one, seen = own(it)
    _, other = own(it)
    seen.put(A, b"1")
    assert seen.get(A) == b"1"
    assert other.get(A) == b"0"
    one.done()
    assert other.get(A) == b"0"
    one.show()
    assert other.get(A) == b"1"


def test_what_a_failed_event_wrote_is_gone() -> None:
    it = partition(1)
    failed, seen = own(it)
    seen.put(A, b"1")
    failed.emit(SINK, [b"f", b"v"])
    failed.close()
    assert own(it)[1].get(A) == b"0"
    it.hand_out(1)
    assert finish_each(it, [nothing(it)])
    assert commit(it) == (CheckpointMove("0-0", "1-0", 1), {})


def test_a_commit_has_no_effect_of_an_event_beyond_its_checkpoint() -> None:
    """Event 3 is done before event 1, and both write the same field as event 2."""
    it = partition(1, 2, 3)
    it.hand_out(3)
    two, three = wrote(it, A, b"2"), wrote(it, A, b"3")
    assert it.next_commit() is None
    assert finish_each(it, [nothing(it), two])
    assert commit(it) == (CheckpointMove("0-0", "2-0", 2), {A: b"2"})
    assert tables(it).get(A) == b"3"
    assert finish_each(it, [three])
    assert commit(it) == (CheckpointMove("2-0", "3-0", 1), {A: b"3"})


def test_events_before_it_that_are_not_collected_yet_are_seen_too() -> None:
    it = partition(1, 2)
    before: dict[Field, bytes | None] = {A: b"1", B: None}
    seen = OwnEffects(it, before).tables
    assert seen is not None
    assert (seen.get(A), seen.get(B), seen.get(C)) == (b"1", None, b"0")
    seen.put(A, b"2")
    assert (seen.get(A), before[A]) == (b"2", b"1")
    assert seen.unknown_of([A, B, C, ("t", b"x")]) == [("t", b"x")]


def test_a_field_that_was_not_read_is_neither_read_nor_written() -> None:
    _, seen = own(partition(1))
    with pytest.raises(KeyError):
        seen.get(("t", b"x"))
    with pytest.raises(KeyError):
        seen.put(("t", b"x"), b"1")
    assert not seen.writes


def test_with_a_key_of_its_own_an_event_may_use_no_other() -> None:
    _, seen = own(partition(1), key=b"a")
    seen.put(A, b"1")
    assert seen.get(A) == b"1"
    for use in (lambda: seen.get(B), lambda: seen.put(B, b"1"), lambda: seen.unknown_of([B])):
        with pytest.raises(HandlerError, match=r"'b' is not the key of this event.*concurrency"):
            use()


def test_a_value_that_was_changed_in_place_is_written_when_its_event_is_done() -> None:
    it = partition(1, 2)
    one, seen = own(it)
    value = [1]
    seen.lend(A, value, Lists(), b"[1]")
    value.append(2)
    assert seen.lent(A, None) is value
    assert own(it)[1].lent(A, None) is None
    one.done()
    value.append(3)
    assert one.writes == {A: b"[1, 2]"}


def test_a_value_that_cannot_be_stored_fails_its_event_alone() -> None:
    it = partition(1, 2)
    bad, seen = own(it)
    seen.lend(A, ["bad"], Lists(), b"[]")
    with pytest.raises(EncodeError):
        bad.done()
    it.hand_out(1)
    assert finish_each(it, [wrote(it, B, b"1")])
    assert commit(it) == (CheckpointMove("0-0", "1-0", 1), {B: b"1"})


def test_code_that_goes_on_after_its_event_is_told_so_by_the_run() -> None:
    made, seen = own(partition(1))
    run = seen.run
    made.close()
    assert made.closed
    assert seen.run != run


def test_one_event_may_write_as_much_as_a_commit_holds() -> None:
    it = partition(1)
    _, seen = own(it)
    fields = [("t", b"%d" % number) for number in range(MOST_FIELDS + 1)]
    for field in fields:
        tables(it).learn(field, None)
    for field in fields[:MOST_FIELDS]:
        seen.put(field, b"v")
    seen.put(fields[0], b"again")
    with pytest.raises(TooManyWrites):
        seen.put(fields[-1], b"v")
    assert len(seen.writes) == MOST_FIELDS


def test_the_bytes_of_one_event_are_bounded_and_those_written_over_do_not_count() -> None:
    made, seen = own(partition(1))
    for _ in range(3):
        seen.put(A, b"x" * (MOST_BYTES - 10))
    assert made.size == MOST_BYTES - 9
    with pytest.raises(TooManyWrites):
        seen.put(B, b"x" * 10)
    seen.put(A, b"")
    assert made.size == 1


def test_one_event_emits_as_much_as_a_commit_holds_and_not_more() -> None:
    it = state(1)
    made = OwnEffects(it)
    assert made.tables is None
    for _ in range(SINK.size - 1):
        made.emit(SINK, [b"f", b"v"])
    with pytest.raises(TooManyWrites, match="99 entries for one partition"):
        made.emit(SINK, [b"f", b"v"])
    made.emit(sink("more"), [b"f", b"v"])
    assert len(made.emitted) == SINK.size


def test_emits_without_tables_are_in_the_order_of_the_events() -> None:
    it = state(1, 2, 3)
    it.hand_out(3)
    effects = [OwnEffects(it) for _ in range(3)]
    for number in (2, 0):  # The third is done first; the second emits nothing.
        effects[number].emit(SINK, [b"f", b"%d" % number])
    for each in effects:
        each.done()
    assert finish_each(it, effects)
    move = it.next_commit()
    assert move == CheckpointMove("0-0", "3-0", 3)
    assert it.effects
    (entries,) = it.effects.in_flight
    assert isinstance(entries, Entries)
    assert entries.entries == [[b"f", b"0"], [b"f", b"2"]]


def test_what_one_commit_cannot_hold_is_split_between_events() -> None:
    it = partition(1, 2, 3, 4)
    it.hand_out(4)
    big = b"x" * (MOST_BYTES - 1000)
    effects = [wrote(it, A, big), nothing(it), wrote(it, B, big), wrote(it, C, b"1")]
    assert finish_each(it, effects)
    assert commit(it) == (CheckpointMove("0-0", "1-0", 1), {A: big})
    assert commit(it) == (CheckpointMove("1-0", "4-0", 3), {B: big, C: b"1"})


def test_nothing_more_is_handed_out_while_too_much_waits_for_commits() -> None:
    it = partition(1, 2, 3, 4)
    it.hand_out(3)
    big = b"x" * (MOST_BYTES - 1000)
    finish_each(it, [wrote(it, field, big) for field in (A, B, C)])
    assert it.overloaded
    commit(it)
    assert not it.overloaded


def test_a_refused_partition_finishes_nothing() -> None:
    it = partition(1, 2)
    it.hand_out(2)
    one = wrote(it, A, b"1")
    it.refuse(ValueError("refused"))
    assert not finish_each(it, [one])
    assert len(it.current) == 1


def test_an_event_that_wrote_as_the_checkpoint_was_skipped_has_its_writes_in_the_next() -> None:
    """The first event is given up while the second is done."""
    it = partition(1, 2)
    it.hand_out(2)
    two = wrote(it, A, b"2")
    it.skipped(it.next_skip())
    assert [each[0] for each in it.current] == [b"2-0"]
    assert it.all_committed
    assert finish_each(it, [two])
    assert commit(it) == (CheckpointMove("1-0", "2-0", 1), {A: b"2"})


def test_a_run_of_events_that_wrote_nothing_is_finished_at_once() -> None:
    it = state(*range(1, 101))
    it.hand_out(100)
    assert finish_each(it, [OwnEffects(it) for _ in range(100)])
    assert it.next_commit() == CheckpointMove("0-0", "100-0", 100)
    assert it.effects is None


def test_tables_write_what_the_event_wrote_and_not_what_is_known_now() -> None:
    it = partition(1, 2)
    it.hand_out(2)
    one = wrote(it, A, b"1")
    wrote(it, A, b"2")
    finish_each(it, [one])
    assert it.next_commit()
    assert it.effects
    (writes,) = it.effects.in_flight
    assert isinstance(writes, TableWrites)
    assert writes.sets == [(b"a", b"1")]
