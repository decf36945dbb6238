"""The partitions that one member holds: claims them, runs their handlers, releases them."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.membership import Changes
from runnel.core.partition import PartitionState
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.errors import (
    Halted,
    HandlerExit,
    Mismatch,
    ProtocolError,
    Removed,
    StaleGrant,
    Unregistered,
)
from runnel.log import about, logger_of
from runnel.observer import Observer
from runnel.processor import ExceptionPolicy, Processor
from runnel.protocol import Grant, InHandCount, Token
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.cancelling import CLEAN_UP, cancel_and_wait
from runnel.worker.claims import Claims
from runnel.worker.concurrent_runner import ConcurrentRunner
from runnel.worker.parked_reads import parking_of
from runnel.worker.partition_io import PartitionIO
from runnel.worker.parts import Parts
from runnel.worker.releasing import release_cut_off, release_unwanted
from runnel.worker.room_waits import RoomWaits
from runnel.worker.runner import Runner
from runnel.worker.shared_membership import SharedMembership

logger = logger_of("runnel.worker")

#: Why a member ends by itself.
EndReason = Halted | HandlerExit | Removed | Mismatch

_REMOVED = (
    "processor {} was removed while this worker ran it: its checkpoints are gone, and a worker "
    "that starts with it registers it again, from its start"
)


class HeldPartitions:
    """Each partition held has a queue, and a task that runs the handler on it.

    `start_lock` is shared by all members of a worker. `fail` is called with the reason if the
    member must end.
    """

    def __init__(
        self,
        processor: Processor,
        backend: Backend,
        membership: SharedMembership,
        start_lock: RecordedStartLock,
        fail: Callable[[EndReason], None],
        observers: Sequence[Observer] = (),
    ) -> None:
        self._parts = Parts(processor, membership.member[0], observers)
        self._processor = processor
        self._backend = backend
        self._membership = membership
        self._start_lock = start_lock
        self._fail = fail
        self.queues: dict[int, PartitionQueue] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._claiming: dict[asyncio.Task[None], None] = {}
        #: Partition -> grant and nonce of a claim that got no reply: it is repeated unchanged.
        self._unanswered: dict[int, tuple[int, str]] = {}
        #: One claim of a partition at a time: the reply to an older one must not arrive last.
        self._one_claim: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        callbacks = Callbacks(self._on_change, self._repeat_claim, self._on_wrong_key)
        self._waits = RoomWaits(processor, backend)
        self.partition_io = PartitionIO(processor, backend, callbacks, self._waits)
        self._claims = Claims(processor, backend, membership.member[0])
        self.moves = self._parts.moves(lambda: self.queues)

    # State

    def states(self) -> list[PartitionState]:
        """The state of each partition held. Another thread may ask."""
        return [queue.state for queue in list(self.queues.values())]

    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that claim a partition or run its handler."""
        return [*self._claiming, *self._tasks.values()]

    def current_events(self) -> list[str]:
        """The event in each handler, for people."""
        return [
            f"partition {partition}, event {event}"
            for partition, queue in sorted(self.queues.items())
            if (event := queue.state.working_on)
        ]

    def in_hand(self) -> dict[int, InHandCount]:
        """How many events each partition has in hand."""
        return {number: queue.in_hand for number, queue in self.queues.items()}

    def log_pending(self) -> None:
        """Log the changes and the losses that wait to be logged."""
        self.moves.log()
        self._claims.losses.log()

    # Decisions of the group and the worker

    def carry_out(self, changes: Changes) -> None:
        """Drain and claim partitions as the group has decided."""
        for partition in changes.drain:
            if queue := self.queues.get(partition):
                self._drain(queue)
            else:
                self._membership.not_held(partition, self._membership.held[partition])
        for grant in changes.claim:
            if self._membership.retiring:
                self._membership.not_held(grant.partition, grant.number)
            else:
                self._spawn(self._claim(grant))

    def claim_those_due(self) -> None:
        """Claim those partitions again that are due for it (see `Claims.due`)."""
        for state in self._claims.due(self.states()):
            self._repeat_claim(state)

    def drain_all(self) -> None:
        """Hand out no further event; release each partition when its handler is done."""
        for queue in list(self.queues.values()):
            self._drain(queue)

    async def close(self) -> None:
        """End what still runs. A task that swallows its cancellation is left running."""
        await cancel_and_wait((*self._tasks.values(), *self._claiming), CLEAN_UP)

    # Claim

    async def _claim(self, grant: Grant) -> None:
        async with self._one_claim[grant.partition]:
            if self._membership.claiming(grant.partition, grant.number):
                await self._claim_now(grant)

    async def _claim_now(self, grant: Grant) -> None:
        if task := self._tasks.get(grant.partition):
            # In the previous tenure, the handler still has a current event.
            await asyncio.wait([task])
        nonce, partition_keys = self._nonce(grant), self._processor.keys(grant.partition)
        try:
            claimed = await self._claims.claim(grant.partition, grant.number, nonce)
            parking = await parking_of(self._backend, self._processor, partition_keys, claimed)
        except StaleGrant as error:
            del self._unanswered[grant.partition]
            seen = int(error.details.get("seen", "0"))
            self._membership.not_held(grant.partition, grant.number, seen)
            return
        except (RedisError, OSError, ProtocolError) as error:
            if isinstance(error, Unregistered):  # By an operator: `Claims` registers what was lost.
                self._fail(Removed(_REMOVED.format(self._processor.name)))
            elif isinstance(error, Mismatch):
                self._fail(error)
            else:
                outage_log.failed("claim", error)
            self._membership.claim_failed(grant.partition, grant.number)
            return
        outage_log.answered("claim")
        del self._unanswered[grant.partition]
        token = Token(claimed.epoch, nonce)
        if not self._membership.claimed(grant.partition, grant.number):
            await release_unwanted(self._backend, partition_keys, token, claimed.checkpoint)
            return
        tables = self._processor.tables, self._processor.expire
        state = self._parts.state(
            grant.partition,
            partition_keys,
            grant.number,
            token,
            claimed,
            *tables,
            one_slot=self._backend.one_slot,
            parking=parking,
        )
        if self._processor.policy is ExceptionPolicy.HALT:
            state.suspicion.forget_failures()  # A restart is a retry. Deaths still count.
        self._hold(state)
        member = self._membership.member[0]
        previous = claimed.previous_owner
        self.moves.claimed(lost_owner=previous if previous != member else "")
        logger.debug(
            "claimed partition=%d epoch=%d checkpoint=%s processor=%s",
            state.partition,
            state.token.epoch,
            state.checkpoint,
            self._processor.name,
            extra={"partition": state.partition},
        )

    def _nonce(self, grant: Grant) -> str:
        """A new nonce for each grant; the same one again if a claim with it got no reply.

        That claim may have been applied. Then one with another nonce would be refused as stale, and
        the lease would end without a release, which counts as an unclean tenure.
        """
        number, nonce = self._unanswered.get(grant.partition, (0, ""))
        if number != grant.number:
            nonce = secrets.token_hex(16)
            self._unanswered[grant.partition] = grant.number, nonce
        return nonce

    def _hold(self, state: PartitionState) -> None:
        queue = self._parts.queue(
            state,
            commit_each=self._processor.commit == "each",
            prefetch=self._processor.prefetch,
            retries=self._processor.retries,
            session=self._membership.session,
            start_lock=self._start_lock,
            schedule_commit=self.partition_io.schedule_commit,
            wake=self.partition_io.wake,
            record_start=self._record_start,
            deadlines=self._backend.deadlines(state),
        )
        if self._membership.retiring:
            state.drain()
        self.queues[state.partition] = queue
        self._tasks[state.partition] = asyncio.create_task(self._run(queue))
        self.partition_io.add(state)

    def _repeat_claim(self, state: PartitionState) -> None:
        """The log may have lost events: claim again under the same token, to learn how many."""
        queue = self._queue_of(state)
        if queue and not state.reclaiming:
            state.reclaiming = True
            self._spawn(self._reclaim(queue))

    async def _reclaim(self, queue: PartitionQueue) -> None:
        try:
            if await self._claims.reclaim(queue):
                self.partition_io.schedule_commit(queue.state)
        finally:
            queue.state.reclaiming = False
        queue.changed.set()
        self.partition_io.wake(queue.state)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._claiming[task] = None
        task.add_done_callback(self._claiming.pop)

    # Run

    async def _run(self, queue: PartitionQueue) -> None:
        """Run the handler; then wait until the lease is released."""
        state = queue.state
        about(partition=state.partition)
        try:
            try:
                await self._runner(queue).run()
            except (Halted, HandlerExit) as ending:
                self._fail(ending)
                state.drain()  # The release comes with it, so that this tenure is not unclean.
            while not state.ended:
                self._check_refused(state)
                if state.draining:
                    self.partition_io.schedule_commit(state)
                queue.changed.clear()
                await queue.changed.wait()
            self._check_refused(state)
        except asyncio.CancelledError:
            await release_cut_off(self._backend, state)
            raise
        finally:
            state.end()
            if self.queues.get(state.partition) is queue:
                del self.queues[state.partition]
                del self._tasks[state.partition]
                self.partition_io.remove(state)
                self.moves.released()
            self._membership.not_held(state.partition, state.grant)

    def _runner(self, queue: PartitionQueue) -> Runner | ConcurrentRunner:
        needs = queue, self._processor, self._backend, self._waits
        if self._processor.concurrency > 1:
            return ConcurrentRunner(*needs, self._fail)
        return Runner(*needs)

    def _check_refused(self, state: PartitionState) -> None:
        """End the member if Redis refuses what the handler has written, whatever is tried."""
        if state.refused is not None and not state.refusal_told:
            state.refusal_told = True
            halted = Halted(
                f"processor {self._processor.name}, partition {state.partition}: {state.refused}"
            )
            halted.__cause__ = state.refused
            self._fail(halted)

    async def _record_start(self, state: PartitionState, event: str) -> None:
        """Store that the handler begins with an event, so that a death can be traced to it.

        Repeats the call until a reply arrives, while the partition is open.
        """
        suspicion = state.suspicion
        attempts = suspicion.attempts if suspicion.event == event.encode() else 0
        call = protocol.attempt(state.keys, state.token, "start", event, attempts)
        while state.open:
            try:
                await self._backend.call(call)
                outage_log.answered("start record")
                return
            except ProtocolError as refusal:
                rebalance_log.lost(state.partition, refusal)
                state.end()
                return
            except (RedisError, OSError) as error:
                outage_log.failed("start record", error)
            if queue := self._queue_of(state):
                await queue.pause(0.2)

    def _on_change(self, state: PartitionState) -> None:
        if queue := self._queue_of(state):
            queue.changed.set()

    def _on_wrong_key(self, state: PartitionState) -> None:
        if queue := self._queue_of(state):
            self._spawn(self._claims.check_tables(queue))

    def _queue_of(self, state: PartitionState) -> PartitionQueue | None:
        queue = self.queues.get(state.partition)
        return queue if queue is not None and queue.state is state else None

    # Release

    def _drain(self, queue: PartitionQueue) -> None:
        queue.state.drain()
        queue.changed.set()
        self._membership.session.wake_waiters()
