"""How much is read: little where nobody knows, less after a failure, and never too much."""

from __future__ import annotations

from runnel.core.appetite import LEAST_BYTES, MOST_LOGS, OVERHEAD, READ_BYTES, Appetite, Room, weigh

LIMIT = 64_000_000


def entry(*sizes: int) -> list[object]:
    return [b"1-0", [b"x" * size for size in sizes]]


def test_of_what_nobody_has_seen_one_is_asked_for() -> None:
    assert Appetite(200, LIMIT).count(0.0, 1e9, 1) == 1


def test_small_entries_are_asked_for_as_many_as_were_declared() -> None:
    assert Appetite(200, LIMIT).count(500.0, LIMIT / 16, 16) == 200


def test_large_ones_share_a_read_and_memory() -> None:
    it = Appetite(200, LIMIT)
    assert it.count(100_000.0, 2_000_000, 16) == 8, "of a megabyte each, in powers of two"
    assert it.count(1_000_000.0, 2_000_000, 16) == 2, "memory says no to more"
    assert it.count(1_000_000.0, 500_000, 16) == 1, "one in any case"
    assert it.count(1_000_000.0, 9_000_000, 64) == 4, "a look at each cursor brings one, too"


def test_however_many_have_something_a_read_is_worth_a_commit_of_each() -> None:
    it = Appetite(200, LIMIT)
    assert it.count(400.0, LIMIT / 2000, 1000) == 64, "sixteen million bytes by a thousand were 32"
    assert it.count(400.0, 8_000, 1000) == 16, "memory says no to more"


def test_failures_come_down_to_one_entry_of_one_log_and_successes_go_all_the_way_back() -> None:
    it = Appetite(200, LIMIT)
    logs, most = 16, 200
    for _ in range(10):
        it.failed(logs, most)
        assert it.logs < logs or logs == 1
        logs, most = it.logs, it.entries
    assert (it.logs, it.entries, it.bytes) == (1, 1, LEAST_BYTES)
    assert it.too_much is None, "one entry is never too large"
    for _ in range(12):
        it.served(1000, 0.01)
        assert it.too_much == 2 * READ_BYTES
    assert (it.logs, it.entries, it.bytes) == (MOST_LOGS, 200, READ_BYTES)


def test_a_thin_line_carries_less_at_a_time() -> None:
    it = Appetite(200, LIMIT)
    for _ in range(20):
        it.served(it.bytes, it.bytes / 2_500_000)
    assert it.bytes / 2_500_000 < 4


def test_a_wait_for_a_little_is_no_thin_line() -> None:
    it = Appetite(200, LIMIT)
    it.served(500, 5.0)
    assert it.bytes == READ_BYTES


def test_a_small_bound_bounds_a_read_too() -> None:
    it = Appetite(200, 1_000_000)
    assert it.bytes == 500_000
    assert it.too_much == 1_000_000


def test_the_mean_is_taken_of_little_and_the_largest_of_much() -> None:
    few = [entry(1, 99), entry(1, 299)]
    assert weigh(few, 1000) == 200 + OVERHEAD
    assert weigh(few, 300) == 300 + OVERHEAD


def test_room_is_for_those_that_have_something_and_each_has_a_part() -> None:
    room = Room(64_000_000)
    room.partitions = 1000
    assert room.share(1) == 64_000_000
    assert room.share(4) == 16_000_000
    room.note("reader", 60_000_000)
    room.note("another", 4_000_000)
    assert room.share(1) == 64_000, "its part of all"
    room.forget("reader")
    assert room.share(1) == 60_000_000
