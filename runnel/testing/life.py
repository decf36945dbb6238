"""A worker's member of one processor in a test: from its start until it ends or is killed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import replace
from math import inf
from typing import Any

from runnel import keys
from runnel.core.membership import Changes, Membership
from runnel.current_event import CURRENT_EVENT
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.harness import NotDrained
from runnel.log import about
from runnel.observer import Observer
from runnel.processor import Processor
from runnel.protocol import Grant, SyncReply
from runnel.testing.in_memory import MemoryBackend
from runnel.testing.store import Store
from runnel.testing.stored import Group
from runnel.testing.virtual_time import VirtualTime
from runnel.worker import outage_log, rebalance_log
from runnel.worker.cancelling import cancel_and_wait
from runnel.worker.held_partitions import EndReason, HeldPartitions
from runnel.worker.shared_membership import SharedMembership

#: Milliseconds of the session, of a rebalance and its delay: no group looks at them here.
TIMES = (10_000, 30_000, 200)
#: Seconds that handlers have to end when the test ends. One that swallows its cancellation is
#: cancelled again in that time.
END = 1.5


class Life:
    """Holds what it is granted, as a member of a group of its own.

    `raised` is called with the partition and each exception of the handler, `fail` with the reason
    why the member ends.
    """

    def __init__(
        self,
        processor: Processor,
        store: Store,
        time: VirtualTime,
        raised: Callable[[str, int, BaseException], None],
        fail: Callable[[EndReason], None],
        observers: Sequence[Observer] = (),
    ) -> None:
        self.backend = MemoryBackend(store, time)
        self._name = processor.name
        self._grants: dict[int, int] = {}
        member = Membership(
            processor.group,
            processor.stream.partition_count,
            TIMES,
            (f"test-{secrets.token_hex(3)}", secrets.token_hex(8), "a test"),
        )
        self._membership = SharedMembership(member, self.backend.clock)
        self._membership.session.renew(inf)
        self._partitions = HeldPartitions(
            _watched(processor, raised),
            self.backend,
            self._membership,
            RecordedStartLock(),
            fail,
            observers,
        )
        self._context = copy_context()
        self._context.run(self._describe, processor.name)
        io = self._partitions.partition_io
        self._io = self._context.run(asyncio.create_task, io.run())

    def _describe(self, name: str) -> None:
        about(processor=name)
        outage_log.watch(f"processor {name}")
        rebalance_log.watch(self._partitions.moves)

    @property
    def queues(self) -> dict[int, PartitionQueue]:
        """Partition -> its queue, for each partition held."""
        return self._partitions.queues

    @property
    def claiming(self) -> bool:
        """Are claims under way?"""
        return any(self._membership.claiming(*each) for each in self._grants.items())

    def grant(self, groups: Mapping[int, Group]) -> None:
        """Grant these partitions, except those that are held or claimed already."""
        held, grants = self._membership.held, self._grants
        new = {
            partition: group.grant + 1
            for partition, group in groups.items()
            if partition not in held
            and not self._membership.claiming(partition, grants.get(partition, 0))
        }
        if new:
            kept = {each: number for each, number in grants.items() if each in held}
            claimed = {
                each: number
                for each, number in grants.items()
                if self._membership.claiming(each, number)
            }
            self._grants = {**kept, **claimed, **new}
            self._reply()

    async def release(self, partition: int) -> None:
        """Withdraw a grant, and wait until the partition is released. Raises NotDrained."""
        if self._grants.pop(partition, None) is not None:
            self._reply()
        ends = asyncio.get_running_loop().time() + END
        while self.queues.get(partition):
            if asyncio.get_running_loop().time() > ends:
                raise NotDrained(
                    f"processor {self._name}, partition {partition} still has an event: drain first"
                )
            await asyncio.sleep(0.001)

    async def end(self) -> None:
        """Finish the current events, release everything, and end."""
        self._membership.retiring = True
        self._partitions.drain_all()
        tasks = self._partitions.tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=END)
        await self.kill()

    async def kill(self) -> None:
        """End at once. Nothing more is committed."""
        self.backend.dead = True
        await cancel_and_wait(self._partitions.tasks(), END)
        await cancel_and_wait([self._io], END)

    def _reply(self) -> None:
        """What the group says next: this is granted, and nothing else."""
        sent = self._membership.next_call("stay")
        grants = tuple(Grant(each, number, True) for each, number in self._grants.items())
        reply = SyncReply(sent.number, 1, TIMES[0], None, grants)
        changes: Changes = self._membership.replied(sent, reply)
        self._context.run(self._partitions.carry_out, changes)


def _watched(processor: Processor, raised: Callable[[str, int, BaseException], None]) -> Processor:
    """The processor, whose exceptions are noted on their way."""
    handler = processor.handler

    async def watched(events: Any) -> None:
        try:
            await handler(events)
        except BaseException as error:
            if here := CURRENT_EVENT.get():
                raised(processor.name, keys.scope(here.log)[2], error)
            raise

    return replace(processor, handler=watched)
