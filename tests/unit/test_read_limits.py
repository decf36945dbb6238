"""How much is read: little while sizes are unknown, less after a failure, and never too much."""

from __future__ import annotations

from runnel.core.read_limits import (
    LEAST_BYTES,
    MOST_LOGS,
    OVERHEAD,
    READ_BYTES,
    MemoryBudget,
    ReadLimits,
    bytes_per_entry,
)

LIMIT = 64_000_000


def entry(*sizes: int) -> list[object]:
    return [b"1-0", [b"x" * size for size in sizes]]


def test_one_entry_is_read_while_the_size_is_unknown() -> None:
    assert ReadLimits(200, MemoryBudget(LIMIT)).count(0.0, 1e9, 1) == 1


def test_of_small_entries_prefetch_are_read() -> None:
    assert ReadLimits(200, MemoryBudget(LIMIT)).count(500.0, LIMIT / 16, 16) == 200


def test_large_entries_share_a_read_and_memory() -> None:
    it = ReadLimits(200, MemoryBudget(LIMIT))
    assert it.count(100_000.0, 2_000_000, 16) == 8, "a megabyte of each log, in powers of two"
    assert it.count(1_000_000.0, 2_000_000, 16) == 2, "memory has no room for more"
    assert it.count(1_000_000.0, 500_000, 16) == 1, "at least one"
    assert it.count(1_000_000.0, 9_000_000, 64) == 4, "to verify each cursor brings one, too"


def test_a_read_of_many_logs_brings_enough_of_each_for_a_commit() -> None:
    it = ReadLimits(200, MemoryBudget(LIMIT))
    assert it.count(400.0, LIMIT / 2000, 1000) == 64, "a thousandth of a read would be 32"
    assert it.count(400.0, 8_000, 1000) == 16, "memory has no room for more"


def test_failures_reduce_a_read_to_one_entry_of_one_log_and_successes_restore_it() -> None:
    it = ReadLimits(200, MemoryBudget(LIMIT))
    logs, most = 16, 200
    for _ in range(10):
        it.failed(logs, most)
        assert it.logs < logs or logs == 1
        logs, most = it.logs, it.entries
    assert (it.logs, it.entries, it.bytes) == (1, 1, LEAST_BYTES)
    assert it.max_reply_bytes is None, "one entry is never too large"
    for _ in range(12):
        it.succeeded(1000, 0.01)
        assert it.max_reply_bytes == 2 * READ_BYTES
    assert (it.logs, it.entries, it.bytes) == (MOST_LOGS, 200, READ_BYTES)


def test_a_slow_connection_reads_less_at_a_time() -> None:
    it = ReadLimits(200, MemoryBudget(LIMIT))
    for _ in range(20):
        it.succeeded(it.bytes, it.bytes / 2_500_000)
    assert it.bytes / 2_500_000 < 4


def test_a_long_wait_for_a_few_bytes_does_not_count_as_slow() -> None:
    it = ReadLimits(200, MemoryBudget(LIMIT))
    it.succeeded(500, 5.0)
    assert it.bytes == READ_BYTES


def test_a_small_memory_limit_limits_a_read_too() -> None:
    it = ReadLimits(200, MemoryBudget(1_000_000))
    assert it.bytes == 500_000
    assert it.max_reply_bytes == 1_000_000


def test_the_size_is_the_mean_of_a_few_bytes_and_the_largest_of_many() -> None:
    few = [entry(1, 99), entry(1, 299)]
    assert bytes_per_entry(few, 1000) == 200 + OVERHEAD
    assert bytes_per_entry(few, 300) == 300 + OVERHEAD


def test_active_partitions_share_the_free_memory_and_each_has_a_least_share() -> None:
    budget = MemoryBudget(64_000_000)
    budget.partitions = 1000
    assert budget.share() == 64_000_000
    budget.set_used("reader", 0, 3)
    budget.set_used("another", 0, 1)
    assert budget.share() == 16_000_000, "those of other readers count, too"
    budget.set_used("reader", 60_000_000, 3)
    budget.set_used("another", 4_000_000, 1)
    assert budget.share() == 64_000, "its share of all"
    budget.forget("reader")
    assert budget.share() == 60_000_000


def test_readers_with_events_share_what_their_reads_may_bring() -> None:
    budget = MemoryBudget(8_000_000)
    it = ReadLimits(200, budget)
    budget.set_used("idle", 0, 0)
    budget.set_used("it", 0, 1)
    assert (it.bytes, it.max_reply_bytes) == (4_000_000, 8_000_000)
    for number in range(3):
        budget.set_used(f"another {number}", 0, 1)
    assert (it.bytes, it.max_reply_bytes) == (1_000_000, 2_000_000)
