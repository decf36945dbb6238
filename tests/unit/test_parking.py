"""Parked keys of a partition, without a server: what is set aside, finished and committed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from runnel.core.parking import ParkedRaw, Parking
from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.preflight.parking import parking_uses, required_by_dead
from runnel.processor import ExceptionPolicy
from runnel.protocol import (
    ParkedEntries,
    ParkedEvent,
    PartitionKeys,
    Replayed,
    TableWrites,
    Token,
    postponed_key,
    read_parked,
)
from tests.cli import shop
from tests.unit.partition_states import CLAIMED


def event(number: int, key: str) -> Raw:
    return [b"%d-0" % number, [b"key", key.encode()]]


def key_of(raw: Raw) -> bytes:
    found: bytes = raw[1][1]
    return found


def partition(*pairs: tuple[int, str], parked: str = "b", **options: Any) -> PartitionState:
    """A partition that has read these events; events of the keys `parked` are parked."""
    limit, tables = options.pop("limit", 100), options.pop("tables", ())
    parking = Parking(key_of, limit, {each.encode(): 1 for each in parked}, **options)
    claimed = replace(CLAIMED, next_id=f"{pairs[0][0]}-0" if pairs else "")
    names = PartitionKeys("runnel:{a:s:0}:s", "work")
    it = PartitionState(0, names, 1, Token(7, "n"), claimed, tables, parking=parking)
    if pairs and not it.replaying:
        request = it.next_read(100)
        assert request
        assert it.take_in(request, [event(*each) for each in pairs], cursor_exists=True)
    return it


def committed(it: PartitionState) -> tuple[str, int, list[list[str]]]:
    """What the next commit moves to, how many events it commits, and for each of its effects the
    events that it parks or replays."""
    move = it.next_commit()
    assert move
    effects: list[list[str]] = []
    for each in it.effects.in_flight if it.effects else ():
        if isinstance(each, ParkedEntries):
            effects.append([read_parked("0-0", entry).event for entry in each.entries])
        elif isinstance(each, Replayed):
            effects.append(list(each.entries))
        elif isinstance(each, TableWrites):
            effects.append([each.name])
    it.committed(move)
    return move.next, move.count, effects


def ids(raws: Any) -> list[str]:
    return [each[0].decode() for each in raws]


def test_events_of_parked_keys_at_the_head_are_finished_and_parked() -> None:
    it = partition((1, "b"), (2, "b"), (3, "a"))
    assert it.ready()
    assert committed(it) == ("2-0", 2, [["1-0", "2-0"]])
    assert ids(it.hand_out(9)) == ["3-0"]
    assert it.parking.counts == {b"b": 3}


def test_if_only_parked_ones_are_left_nothing_is_ready_and_all_is_committed() -> None:
    it = partition((1, "b"))
    assert not it.ready()
    assert committed(it) == ("1-0", 1, [["1-0"]])
    assert it.settled


def test_s4_what_lies_between_the_events_of_a_list_is_committed_with_them() -> None:
    it = partition((1, "a"), (2, "b"), (3, "a"), (4, "b"), tables=("totals",))
    assert ids(it.hand_out(9)) == ["1-0", "3-0"]
    assert it.effects is not None
    it.effects.tables.learn(("totals", b"a"), None)
    it.effects.tables.put(("totals", b"a"), b"1")
    it.finish()
    move = it.next_commit()
    assert move
    assert (move.next, move.count) == ("4-0", 4)
    kinds = [type(each) for each in it.effects.in_flight]
    assert kinds == [TableWrites, ParkedEntries]


def test_what_is_behind_a_current_event_waits_for_it() -> None:
    it = partition((1, "a"), (2, "b"), (3, "a"))
    it.hand_out(9)
    assert not it.settled
    it.finish(1)
    assert committed(it) == ("2-0", 2, [["2-0"]])
    assert ids(it.current) == ["3-0"]


def test_a_rewind_puts_everything_back_in_order() -> None:
    it = partition((1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a"))
    it.hand_out(3)
    it.rewind(keep=1)
    assert ids(it.current) == ["1-0"]
    assert ids(it.buffer) == ["2-0", "3-0", "4-0", "5-0"]
    it.hand_out(2)
    it.rewind(keep=2)
    assert ids(it.current) == ["1-0", "3-0"]
    assert ids(it.buffer) == ["4-0", "5-0"]
    assert ids(it.parking.aside) == ["2-0"]
    it.rewind()
    assert ids(it.buffer) == ["1-0", "2-0", "3-0", "4-0", "5-0"]
    assert it.parking.counts == {b"b": 1}


def test_one_commit_parks_no_more_than_the_limit() -> None:
    it = partition(*((number, "b") for number in range(1, 6)), limit=2)
    it.ready()
    assert committed(it) == ("2-0", 2, [["1-0", "2-0"]])
    assert committed(it) == ("4-0", 2, [["3-0", "4-0"]])


def test_a_list_ends_before_more_is_set_aside_than_a_commit_may_park() -> None:
    it = partition((1, "a"), (2, "b"), (3, "b"), (4, "b"), (5, "a"), limit=2)
    assert ids(it.hand_out(9)) == ["1-0"]
    it.finish()
    assert committed(it)[:2] == ("3-0", 3)


def test_lost_events_are_not_counted_twice_when_they_are_parked() -> None:
    it = partition((1, "b"), (2, "b"))
    it._lost_ahead = 1
    it.ready()
    assert committed(it)[:2] == ("2-0", 1)


def parked(number: int, key: str) -> ParkedRaw:
    found = ParkedEvent(f"9-{number}", key.encode(), f"0-{number}", 1, "", "", [b"key", b"v"])
    return ParkedRaw(found)


def replaying() -> PartitionState:
    """A partition with two parked events of a, one of b, of which all are replayed."""
    it = partition(parked="ab", replaying=(b"a", b"b"))
    it.parking.counts[b"a"] = 2
    it.buffer.extend([parked(1, "a"), parked(2, "b"), parked(3, "a")])
    return it


def test_replays_come_one_at_a_time_before_the_log_and_leave_the_checkpoint() -> None:
    it = replaying()
    assert it.next_read(100) is None
    assert not it.settled
    for number in (1, 2, 3):
        assert it.ready()
        assert ids(it.hand_out(9)) == [f"0-{number}"]
        it.finish()
        assert not it.all_committed
        assert committed(it) == ("0-0", 0, [[f"9-{number}"]])
    assert it.settled
    assert it.next_read(100)
    assert not it.keys_parked


def test_a_release_comes_after_the_replays_that_are_finished() -> None:
    it = replaying()
    it.hand_out(1)
    it.finish()
    it.drain()
    it.handler_ended = True
    first = it.next_commit()
    assert first
    assert not first.release
    it.committed(first)
    second = it.next_commit()
    assert second
    assert second.release


def test_a_replay_that_fails_again_takes_its_key_out() -> None:
    it = replaying()
    it.hand_out(1)
    it.parked_again()
    assert ids(it.buffer) == ["0-2"]
    assert it.parking.counts == {b"a": 2, b"b": 1}
    assert it.replays_left == 1
    it.hand_out(1)
    it.finish()
    committed(it)
    assert not it.replaying
    assert it.keys_parked


def test_a_replay_that_is_given_up_as_a_dead_letter_is_not_parked_any_more() -> None:
    it = replaying()
    it.hand_out(1)
    (effect,) = it.skip_effects()
    assert isinstance(effect, Replayed)
    assert effect.entries == ["9-1"]
    move = it.next_skip()
    assert (move.prev, move.next, move.count) == ("0-0", "0-0", 0)
    it.skipped(move)
    assert it.parking.counts == {b"a": 1, b"b": 1}
    assert it.all_committed


def postponed(number: int, key: bytes = b"a") -> ParkedEvent:
    name = postponed_key(f"0-{number}", key)
    return ParkedEvent(f"9-{number}", name, f"0-{number}", 2, "", "", [b"key", key])


def test_what_is_due_comes_alone_between_two_events_and_leaves_the_checkpoint() -> None:
    it = partition((1, "a"), (2, "a"), (3, "a"), parked="")
    assert ids(it.hand_out(1)) == ["1-0"]
    it.add_due([postponed(1), postponed(2)])
    assert it.keys_parked
    assert it.ready(), "the buffer has more"
    it.finish()
    assert it.next_id == b"0-1"
    for number in (1, 2):
        (raw,) = it.hand_out(9)
        assert isinstance(raw, ParkedRaw)
        assert (raw[0], raw.attempts, it.alone) == (b"0-%d" % number, 2, True)
        it.finish()
    assert not it.keys_parked
    assert ids(it.hand_out(9)) == ["2-0", "3-0"]
    it.finish()
    assert committed(it) == ("3-0", 3, [["9-1", "9-2"]])


def test_what_was_read_as_due_is_not_taken_in_twice() -> None:
    it = partition((1, "a"), parked="")
    it.add_due([postponed(1)])
    it.hand_out(1)
    it.add_due([postponed(1), postponed(2)])
    assert ids(it.parking.due) == ["0-2"], "the first one is in hand"
    it.parked_again()
    assert ids(it.buffer) == ["1-0"]
    assert it.parking.look
    it.add_due([postponed(2)])
    it.add_due([postponed(1), postponed(2)])
    assert ids(it.parking.due) == ["0-2", "0-1"], "it is due again"


def test_a_try_that_was_not_finished_comes_again_before_the_log() -> None:
    it = partition((1, "a"), parked="")
    it.add_due([postponed(1)])
    it.hand_out(1)
    it.rewind()
    assert ids(it.buffer) == ["1-0"]
    assert it.next_is_due
    assert ids(it.hand_out(1)) == ["0-1"]


def test_a_postponed_event_parks_nothing_behind_it_and_is_replayed_like_others() -> None:
    name = postponed_key("0-1", b"a")
    parking = Parking(key_of, 100, {name: 1, b"b": 1}, postponed=True)
    assert (parking.counts, parking.look) == ({b"b": 1}, True)
    it = partition(parked="", replaying=())
    it.parking = Parking(key_of, 100, {name: 1}, [name], postponed=True)
    it._parking_changed()
    it.buffer.append(ParkedRaw(postponed(1)))
    it.add_due([postponed(1)])
    assert not it.parking.due, "it is replayed"
    it.hand_out(1)
    it.finish()
    assert committed(it) == ("0-0", 0, [["9-1"]])
    assert not it.replaying


def test_a_server_that_lost_commits_ends_the_lease_since_keys_may_not_be_parked() -> None:
    it = partition((1, "b"))
    it.ready()
    committed(it)
    it.before_reclaim()
    it.reclaimed(replace(CLAIMED, checkpoint="0-0"))
    assert it.draining


def test_only_those_who_park_or_replay_need_the_permissions() -> None:
    printer, picky = shop.app.processors["printer"], shop.app.processors["picky"]
    assert parking_uses(printer) == ([], [])
    parks = replace(printer, policy=ExceptionPolicy.PARK)
    for each in (picky, parks):
        calls, direct = parking_uses(each)
        assert {call.script for call in calls} == {"transact", "park_again", "due"}
        assert {command for command, _ in direct} == {"HGETALL", "HKEYS", "XRANGE"}
    calls, _ = parking_uses(replace(printer, policy=ExceptionPolicy.RETRY_LATER))
    assert {call.script for call in calls} == {"transact", "park_again", "due", "postpone"}
    assert sum("postpone" in call.args for call in calls) == 1
    scripts = {each.script for each in required_by_dead(picky, "drop").calls}
    assert scripts == {"describe", "revoke", "drop_parked", "take_letters"}
    assert {each.script for each in required_by_dead(parks, "list").calls} == {"describe"}
