"""What waits in an outbox is forwarded in order for each target, and leaves in order for all."""

from __future__ import annotations

import pytest

from runnel.core.outbox import BATCH, ROOM, Outbox
from runnel.core.reading import Raw
from runnel.errors import BadArgument, Conflict, Full
from runnel.protocol import OutboxTrim, PartitionKeys

PREFIX = "runnel:{shop:orders:3}:orders"
#: No room in a target.
FULL = Full("FULL processor=mailer limit=100", {"processor": "mailer", "limit": "100"})


def entry(number: int, partition: int = 0, epoch: int = 7, body: bytes = b"v") -> Raw:
    address = b"alerts %d 4 xxh64 1000" % partition
    return [b"%d-%d" % (epoch, number), [b"to", address, b"f", body]]


class Stage:
    """An outbox, and what was read from it."""

    def __init__(self) -> None:
        self.outbox = Outbox(PartitionKeys(PREFIX, "work"))

    def read(self, *entries: Raw, last: int, done: int = 0) -> None:
        it = self.outbox
        assert it.wants_read
        it.take_in(entries, last, done, it.begin_read())

    def forward(self, partition: int, number: int | None = None) -> list[str]:
        """Forward what one append takes, or a part of it: the ids."""
        (target,) = [each for each in self.outbox.ready() if f":{partition}}}" in each.prefix]
        batch = self.outbox.batch(target)[:number]
        self.outbox.forwarded(target, batch)
        return [each.id for each in batch]

    def fail(self, partition: int, problem: Exception) -> None:
        (target,) = [each for each in self.outbox.ready() if f":{partition}}}" in each.prefix]
        self.outbox.failed(target, problem)

    def trim(self) -> OutboxTrim | None:
        """What leaves, once that is answered."""
        found = self.outbox.next_trim()
        assert self.outbox.next_trim() is found, "the same until it is answered"
        if found:
            self.outbox.trimmed()
        return found


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_entries_leave_once_those_before_them_were_forwarded(stage: Stage) -> None:
    stage.read(entry(1, 0), entry(2, 1), entry(3, 0), entry(4, 1), last=4)
    assert stage.forward(1) == ["7-2", "7-4"]
    assert stage.trim() is None
    assert stage.forward(0, 1) == ["7-1"]
    assert stage.trim() == OutboxTrim("7-2", 2, 0)
    assert not stage.outbox.empty
    assert stage.forward(0) == ["7-3"]
    assert stage.trim() == OutboxTrim("7-4", 4, 0)
    assert stage.outbox.empty
    assert not stage.outbox.wants_read


def test_an_entry_says_where_it_goes_and_loses_that_pair(stage: Stage) -> None:
    stage.read(entry(1, 2), last=1)
    (target,) = stage.outbox.ready()
    (waiting,) = stage.outbox.batch(target)
    assert target.prefix == "runnel:{shop:alerts:2}:alerts"
    assert waiting.sink
    assert (waiting.sink.size, waiting.sink.contract.partitions) == (1000, 4)
    assert waiting.entry == [b"f", b"v"]


@pytest.mark.parametrize(
    "fields",
    [
        [b"f", b"v"], [b"to", b"alerts 0 4 xxh64", b"f", b"v"], [b"to", b"\xff", b"f", b"v"],
        [b"to", b"alerts x 4 xxh64 100", b"f", b"v"], [b"to", b"alerts 0 4 xxh64 9 9", b"f", b"v"],
    ],
)  # fmt: skip
def test_an_entry_that_does_not_say_so_is_refused(stage: Stage, fields: list[bytes]) -> None:
    with pytest.raises(BadArgument):
        stage.read([b"7-1", fields], last=1)


def test_a_number_that_is_too_large_for_scripts_is_refused(stage: Stage) -> None:
    with pytest.raises(BadArgument):
        stage.read(entry(10**15), last=1)


def test_numbers_that_are_missing_are_lost(stage: Stage) -> None:
    stage.read(entry(13), entry(16), last=16, done=10)
    assert stage.forward(0) == ["7-13", "7-16"]
    assert stage.trim() == OutboxTrim("7-16", 16, 4)


def test_an_end_that_is_missing_is_lost_once_it_is_read_again(stage: Stage) -> None:
    """Between both parts of a read, a commit may write."""
    stage.read(entry(1), last=3)
    assert stage.forward(0) == ["7-1"]
    assert stage.trim() == OutboxTrim("7-1", 1, 0)
    stage.read(entry(2), last=4)
    assert stage.outbox.wants_read
    stage.read(last=4)
    assert stage.forward(0) == ["7-2"]
    assert stage.trim() == OutboxTrim("7-2", 4, 2)
    assert stage.outbox.empty


def test_an_outbox_that_is_gone_is_lost(stage: Stage) -> None:
    stage.read(last=8, done=5)
    assert stage.trim() is None
    stage.read(last=8, done=5)
    assert stage.trim() == OutboxTrim("0-0", 8, 3)
    assert stage.outbox.empty


def test_entries_of_a_state_that_was_lost_are_forwarded_and_count_as_none(stage: Stage) -> None:
    stage.read(entry(57), entry(58), entry(1, epoch=9), last=1)
    assert stage.forward(0, 2) == ["7-57", "7-58"]
    assert stage.trim() == OutboxTrim("7-58", 0, 0)
    assert stage.forward(0) == ["9-1"]
    assert stage.trim() == OutboxTrim("9-1", 1, 0)


def test_a_server_that_has_lost_commits_is_noticed(stage: Stage) -> None:
    stage.read(entry(1), entry(2), last=2)
    stage.outbox.wrote()
    with pytest.raises(Conflict):
        stage.read(last=1)


def test_what_is_written_during_a_read_is_read_too(stage: Stage) -> None:
    outbox = stage.outbox
    writes = outbox.begin_read()
    outbox.wrote()
    outbox.take_in([entry(1)], 1, 0, writes)
    assert outbox.wants_read
    stage.read(entry(2), last=2)
    assert not outbox.wants_read
    assert outbox.after == "7-2"


def test_pages_grow_while_entries_are_small_and_a_full_page_is_not_the_end(stage: Stage) -> None:
    first = stage.outbox.page
    stage.read(*(entry(number + 1) for number in range(first)), last=first)
    assert stage.outbox.wants_read
    assert stage.outbox.page == 2 * first
    stage.read(entry(first + 1, body=bytes(1_000_000)), last=first + 1)
    assert stage.outbox.page == 1
    assert not stage.outbox.wants_read


def test_no_more_is_read_than_there_is_room_for(stage: Stage) -> None:
    stage.read(entry(1, body=bytes(ROOM)), last=2)
    assert not stage.outbox.wants_read
    stage.forward(0)
    assert stage.outbox.wants_read


def test_one_append_is_limited_in_entries_and_bytes(stage: Stage) -> None:
    stage.outbox.page = 2 * BATCH
    big = entry(BATCH + 2, body=bytes(900_000))
    small = [entry(number + 1) for number in range(BATCH + 1)]
    stage.read(*small, big, entry(BATCH + 3, body=bytes(200_000)), last=BATCH + 3)
    assert len(stage.forward(0)) == BATCH
    assert stage.forward(0) == [f"7-{BATCH + 1}", f"7-{BATCH + 2}"]
    assert stage.forward(0) == [f"7-{BATCH + 3}"]


def test_entries_for_another_size_of_the_stream_are_another_append(stage: Stage) -> None:
    other: Raw = [b"7-2", [b"to", b"alerts 0 4 xxh64 50", b"f", b"v"]]
    stage.read(entry(1), other, entry(3), last=3)
    assert [stage.forward(0) for _ in range(3)] == [["7-1"], ["7-2"], ["7-3"]]


def test_a_stream_with_little_room_gets_smaller_appends(stage: Stage) -> None:
    stage.read(*(entry(number + 1) for number in range(8)), last=8)
    (target,) = stage.outbox.ready()
    sizes = [len(stage.outbox.batch(target))]
    while stage.outbox.no_room(target, stage.outbox.batch(target)):
        sizes.append(len(stage.outbox.batch(target)))
    assert sizes == [8, 4, 2, 1]
    assert len(stage.forward(0)) == 1
    assert len(stage.forward(0)) == 2


def test_only_ids_are_kept_of_what_a_target_does_not_take(stage: Stage) -> None:
    stage.read(entry(1, body=bytes(ROOM)), entry(2, 1), last=3)
    assert not stage.outbox.wants_read
    stage.fail(0, FULL)
    assert stage.outbox.wants_read
    stage.read(entry(3), last=3)
    target = next(each for each in stage.outbox.ready() if ":0}" in each.prefix)
    assert stage.outbox.batch(target) == []
    assert stage.outbox.unread(target) == ["7-1"], "more would be more than one append takes"
    stage.outbox.read_again(target, {"7-1": entry(1)[1]})
    assert stage.forward(0) == ["7-1"]
    assert stage.outbox.unread(target) == ["7-3"]
    stage.outbox.read_again(target, {"7-3": None})
    assert stage.forward(1) == ["7-2"]
    assert stage.trim() == OutboxTrim("7-3", 3, 1), "it was deleted meanwhile"


def test_the_full_stream_of_the_oldest_entry_is_named_until_it_has_room(stage: Stage) -> None:
    stage.read(entry(1, 0), entry(2, 1), last=2)
    stage.fail(1, FULL)
    assert not stage.outbox.stuck, "the other target is not asked yet"
    stage.fail(0, ConnectionError("down"))
    assert stage.outbox.stuck
    found = stage.outbox.full
    assert found
    assert found.sink == "alerts"
    assert stage.trim() == OutboxTrim("0-0", 0, 0, "alerts", FULL.reason)
    assert stage.trim() is None, "it was told"
    target = next(each for each in stage.outbox.ready() if ":1}" in each.prefix)
    stage.outbox.read_again(target, {"7-2": entry(2)[1]})
    assert stage.forward(1) == ["7-2"]
    assert stage.trim() == OutboxTrim("0-0", 0, 0)
