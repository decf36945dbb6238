"""A held partition pays for observers only if there are some."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel.core.observed_state import ObservedState
from runnel.core.partition import PartitionState
from runnel.delivery.observed_queue import ObservedQueue
from runnel.delivery.partition_queue import PartitionQueue
from runnel.observer import Lease, Observer, PartitionObserver
from tests.worker.inside import Ledger
from tests.worker.workers import until


class Leases(Observer):
    """Notes the leases; with `broken`, it fails."""

    def __init__(self, broken: bool = False) -> None:
        self.seen: list[Lease] = []
        self._broken = broken

    def partition(self, lease: Lease) -> PartitionObserver:
        assert not self._broken
        self.seen.append(lease)
        return PartitionObserver()


@pytest.mark.parametrize("observed", [False, True])
async def test_the_parts_are_plain_without_observers(
    redis: Redis, ledger: Ledger, observed: bool, states: list[PartitionState]
) -> None:
    leases = Leases()
    if observed:
        for each in (Leases(broken=True), leases):
            ledger.app.observe(each)
    ledger.processor()
    async with ledger.running() as worker:
        await ledger.send(1, 2)
        await until(lambda: ledger.seen == [1, 2], "they are processed")
        await asyncio.sleep(0)
        queues = [queue for member in worker._members for queue in member.queues.values()]
        assert {type(each) for each in queues} == {ObservedQueue if observed else PartitionQueue}
        assert type(states[0]) is (ObservedState if observed else PartitionState)
        assert leases.seen == observed * [
            Lease(ledger.app.name, "work", "items", 0, states[0].token.epoch, worker.member)
        ]
    await ledger.app.close()
