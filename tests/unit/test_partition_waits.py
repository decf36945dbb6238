"""A partition waits for its commits and for times, and no longer than it is open."""

from __future__ import annotations

import asyncio

import pytest

from runnel.core.partition import PartitionState
from runnel.delivery.partition_waits import PartitionWaits
from runnel.testing.virtual_time import VirtualDeadlines, VirtualTime
from tests.unit.partition_states import state


class Waits(PartitionWaits):
    """Commits are replied to at once."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        super().__init__(state(1), self._commit, VirtualDeadlines(self.time, "it"))

    def _commit(self, it: PartitionState) -> None:
        if move := it.next_commit():
            it.committed(move)


@pytest.fixture
async def waits() -> Waits:
    return Waits()


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_pause_is_as_long_as_it_should_be(waits: Waits) -> None:
    pause = asyncio.create_task(waits.pause(10))
    await turns()
    waits.changed.set()
    waits.time.move_to(waits.time.now + 9)
    await turns()
    assert not pause.done()
    waits.time.move_to(waits.time.now + 1)
    await pause


async def test_a_pause_ends_with_the_partition(waits: Waits) -> None:
    pause = asyncio.create_task(waits.pause(10))
    await turns()
    waits.state.drain()
    waits.changed.set()
    await pause


async def test_a_flush_waits_for_the_commit_and_settled_is_what_is_committed(waits: Waits) -> None:
    it = waits.state
    settled = asyncio.create_task(waits.wait_settled())
    it.hand_out(1)
    it.finish()
    flush = asyncio.create_task(waits.flush())
    await turns()
    assert not flush.done()
    assert not settled.done()
    waits._schedule_commit(it)
    waits.changed.set()
    await flush
    waits.changed.set()
    await settled


async def test_a_flush_has_a_cursor_verified_that_it_learns_of_only_meanwhile(waits: Waits) -> None:
    """As of a read that was sent before a postponed event was handed out."""
    it = waits.state
    it.hand_out(1)
    it.finish()
    flush = asyncio.create_task(waits.flush())
    await turns()
    move = it.next_commit()
    it.unverified_from = "0-0"
    assert move
    it.committed(move)
    scheduled: list[PartitionState] = []
    waits._schedule_commit = scheduled.append
    waits.changed.set()
    await turns()
    assert scheduled == [it]
    it.verified("0-0", exists=True)
    waits.changed.set()
    await flush
