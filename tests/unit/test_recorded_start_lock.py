"""One partition holds the lock at a time, in the order of arrival."""

from __future__ import annotations

import asyncio

from runnel.delivery.recorded_start_lock import RecordedStartLock


def test_the_first_holds_it_and_passes_it_on_to_the_next() -> None:
    lock, changed = RecordedStartLock(), [asyncio.Event() for _ in range(3)]
    assert [lock.acquire(n, changed[n]) for n in range(3)] == [True, False, False]
    assert lock.acquire(0, changed[0]), "it holds it already"
    lock.release(0)
    assert [each.is_set() for each in changed] == [False, True, False]
    assert lock.acquire(1, changed[1])
    assert not lock.acquire(0, changed[0]), "it is the last in the queue now"


def test_a_partition_that_stops_waiting_is_left_out() -> None:
    lock, changed = RecordedStartLock(), [asyncio.Event() for _ in range(3)]
    for n in range(3):
        lock.acquire(n, changed[n])
    lock.release(1)
    lock.release(0)
    assert changed[2].is_set()
    assert lock.acquire(2, changed[2])


def test_a_release_without_the_lock_changes_nothing() -> None:
    lock = RecordedStartLock()
    lock.release("a partition")
    assert lock.acquire("a partition", asyncio.Event())
