"""One processor's group as this worker sees it: sync, claim, work, release."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.core.membership import Membership
from runnel.core.partition import PartitionState
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.delivery.session import Session
from runnel.errors import (
    Halted,
    HandlerExit,
    Mismatch,
    ProtocolError,
    Removed,
    Replaced,
    StaleGrant,
    Unregistered,
)
from runnel.log import about, logger_of
from runnel.operations.partition_ranges import those
from runnel.processor import ExceptionPolicy, Processor, refused
from runnel.protocol import CheckpointMove, Grant, SyncReply, Token
from runnel.settings import Settings
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.cancelling import CLEAN_UP, end
from runnel.worker.claims import Claims
from runnel.worker.fetcher import Fetcher
from runnel.worker.leaving import AWAY, LOOK, Holder
from runnel.worker.quarantine_reminder import remind
from runnel.worker.rebalance_log import Moves
from runnel.worker.runner import Runner

logger = logger_of("runnel.worker")

#: Seconds that a heartbeat takes in a group that is not large.
LONG_SYNC = 0.01

#: What ends a group, and what it ends with.
Failure = Halted | HandlerExit | Removed | Mismatch


_REMOVED = (
    "processor {} was removed while this worker ran it: its position is gone, and a worker that "
    "starts with it registers it anew, from its start"
)


class Member:
    """A membership and the partitions held under it.

    `member` is the member's id and a description of the worker for people; `turn` is shared by all
    groups of a worker.
    """

    def __init__(
        self,
        processor: Processor,
        settings: Settings,
        backend: Backend,
        member: tuple[str, str],
        turn: RecordedStartLock,
    ) -> None:
        self.processor = processor
        self._turn_to_record = turn
        self._backend = backend
        times = tuple(
            round(seconds * 1000)
            for seconds in (
                settings.session_timeout,
                settings.rebalance_timeout,
                settings.rebalance_delay,
            )
        )
        self._member = member[0]
        self.membership = Membership(
            processor.group,
            processor.stream.partition_count,
            (times[0], times[1], times[2]),
            (member[0], secrets.token_hex(8), member[1]),
        )
        #: Guards the membership: a thread may `vouch`.
        self._lock = threading.Lock()
        self._session = Session(backend.clock)
        #: When the event loop was last seen running.
        self._alive_at = backend.clock()
        self.queues: dict[int, PartitionQueue] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._claiming: dict[asyncio.Task[None], None] = {}
        #: One claim of a partition at a time: the answer to an older one must not come last.
        self._one_claim: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._sync_now = asyncio.Event()
        self._leaving = False
        self._failed = asyncio.Event()
        self._failure: Failure | None = None
        self._tell: Callable[[Exception], None] = lambda failure: None
        #: What did not finish within the grace.
        self.cut_off: list[str] = []
        #: Seconds that the last heartbeat took.
        self._took = 0.0
        #: How many heartbeats Redis has answered.
        self._answers = 0
        self._pump = Fetcher(processor, backend, Callbacks(self._stirred, self._suspected))
        self._claims = Claims(processor, backend, self._member)
        self._moves = Moves(processor.name, lambda: self.queues, processor.stream.partition_count)

    # Life

    async def register(self) -> None:
        """Make every partition ready. Raises Mismatch if the stream was made otherwise.

        Partition 0 is asked first: a partition that only a wrong count knows has nothing to differ
        from.
        """
        stream = self.processor.stream
        await self._backend.call(protocol.declare(stream.prefix(0), stream.contract))
        calls = [
            protocol.register(self.processor.place(p), stream.contract, self.processor.start)
            for p in range(stream.partition_count)
        ]
        mended = []
        for partition, reply in enumerate(await self._backend.call_all(calls)):
            if isinstance(reply, Exception):
                raise refused(self.processor, reply)
            if protocol.read_register(reply) == "mended":
                mended.append(partition)
        if mended:
            logger.error(
                "processor %s, %s: keys were lost and are made anew. Where a log was among them, "
                "its events are gone: how many, nothing tells",
                self.processor.name,
                those(mended),
                extra={"partitions": mended},
            )

    async def run(
        self, stop: asyncio.Event, grace: float, failed: Callable[[Exception], None]
    ) -> None:
        """Work until `stop` is set or an event halts the worker; then hand everything back.

        `grace` is the seconds that events in hand may take then. `failed` is told at once what this
        ends for. Raises Halted, HandlerExit, Removed, Mismatch, Replaced.
        """
        self._tell = failed
        name = self.processor.name
        about(processor=name)
        outage_log.watch(f"processor {name}")
        rebalance_log.watch(self._moves)
        services = (self._pump.run, self._listen, self._heartbeat, self._remind)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(service()) for service in services]
            stopping = asyncio.create_task(stop.wait())
            failing = asyncio.create_task(self._failed.wait())
            try:
                await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
                there = await self._hand_back(grace)
                # A heartbeat that reached the group after `leave` was made would be the newer call.
                await end(tasks)
                self._moves.tell()
                if there:
                    await self._leave(CLEAN_UP if self.cut_off else AWAY)
            finally:
                await end((stopping, failing, *tasks))
        if self._failure is not None:
            raise self._failure

    def in_hand(self) -> list[str]:
        """What is at work, for people. Another thread may ask."""
        return self._holder().in_hand()

    async def _hand_back(self, grace: float) -> bool:
        """Finish what is in hand, commit and release. Returns False if Redis is away.

        The heartbeat goes on meanwhile: each partition goes to another member as soon as it is
        free.
        """
        self._leaving = True
        self._sync_now.set()
        for queue in list(self.queues.values()):
            self._drain(queue)
        there, self.cut_off = await self._holder().finish(grace)
        await self.close()
        return there

    def _holder(self) -> Holder:
        return Holder(
            self.processor.name,
            lambda: [*self._claiming, *self._tasks.values()],
            lambda: [queue.state for queue in list(self.queues.values())],
            lambda: self._answers,
        )

    async def _leave(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._sync("leave")
        except (RedisError, OSError, ProtocolError) as error:
            logger.warning(
                "processor %s: this member could not leave the group (%s): its partitions are free "
                "when its session ends",
                self.processor.name,
                error,
            )

    async def close(self) -> None:
        """End what still runs. What swallows its cancellation is left."""
        await end((*self._tasks.values(), *self._claiming), CLEAN_UP)

    # Membership

    async def _heartbeat(self) -> None:
        pause = 0.1
        while True:
            self._sync_now.clear()
            self._alive_at = self._backend.clock()
            try:
                synced = await self._sync("retire" if self._leaving else "stay")
                wait = synced.session_ms / 3000
                if synced.again_ms is not None:
                    wait = min(wait, synced.again_ms / 1000 + 0.005)
                if self.membership.must_report:
                    wait = 0.0
                if self._leaving:  # Is Redis there?
                    wait = min(wait, 2 * LOOK)
                pause = 0.1
                outage_log.answered("heartbeat")
            except Replaced as error:
                raise Replaced(
                    f"another worker has started under the name {self._member!r}, so this one "
                    "ends: give each its own --name",
                    error.details,
                ) from None
            except (RedisError, OSError) as error:
                outage_log.failed("heartbeat", error)
                wait, pause = pause, min(pause * 2, 1.0)
                self._sync_now.clear()
            for state in self._claims.due([each.state for each in self.queues.values()]):
                self._suspected(state)
            if wait > 0:
                began = self._backend.clock()
                try:
                    async with asyncio.timeout(wait):
                        await self._sync_now.wait()
                except TimeoutError:
                    pass
                self._say_if_late(self._backend.clock() - began - wait)
            if self._took > LONG_SYNC:
                # In a large group each report costs. While one is made the next ones gather, and
                # others have as much of Redis as this takes.
                await asyncio.sleep(min(self._took, 1.0))

    def _say_if_late(self, seconds: float) -> None:
        """By how much this worker woke up too late, if its session has ended meanwhile."""
        if seconds < 0.1 or self._session.alive() or not self.queues:
            return
        at_work = [
            f"partition {partition}, event {event}"
            for partition, queue in sorted(self.queues.items())
            if (event := queue.state.at_work)
        ]
        logger.error(
            "processor %s: this worker stood still for %.1f s and its session has ended: user code "
            "blocked the event loop, or the process was suspended. Others may have what it held; "
            "at work then: %s",
            self.processor.name,
            seconds,
            ("; ".join(at_work[:3]) + (f" and {len(at_work) - 3} more" if at_work[3:] else ""))
            or "nothing",
        )

    async def _sync(self, action: protocol.Action) -> SyncReply:
        with self._lock:
            reported = self.membership.reported()
            number, call = self.membership.next_call(action)
        before = self._backend.clock()
        synced = protocol.read_sync(await self._backend.call(call))
        with self._lock:
            orders = self.membership.replied(number, reported, synced)
        self._answers += 1
        self._took = self._backend.clock() - before
        self._session.renew(before + synced.session_ms / 1000)
        for partition in orders.drain:
            if queue := self.queues.get(partition):
                self._drain(queue)
            else:
                self._let_go(partition, self.membership.held[partition])
        for grant in orders.claim:
            if self._leaving:
                self._let_go(grant.partition, grant.number)
            else:
                self._spawn(self._claim(grant))
        return synced

    @property
    def session(self) -> float:
        """Seconds: the group's, which the latest joiner sets."""
        return self.membership.session_ms / 1000

    def idle_for(self) -> float:
        """Seconds for which the event loop has not run the heartbeat."""
        return self._backend.clock() - self._alive_at

    def beat(self) -> None:
        """Heartbeat from a thread while user code blocks the event loop. Takes no orders.

        A worker that slept past its session must not go on with what others hold by now: the
        session counts as renewed only if all that is held is still granted.
        """
        with self._lock:
            _, call = self.membership.next_call("retire" if self._leaving else "stay")
        before = self._backend.clock()
        synced = protocol.read_sync(self._backend.beat(call))
        with self._lock:
            certain = self.membership.holds_what_is_granted(synced)
            self.membership.session_ms = synced.session_ms
        if certain:
            self._session.ends = before + synced.session_ms / 1000

    async def _listen(self) -> None:
        """Sync at once when the group says that something changed. Only a hint: heartbeats do."""
        await self._backend.listen(keys.wake(self.processor.group), self._sync_now.set)

    async def _remind(self) -> None:
        await remind(self.processor, lambda: [each.state for each in self.queues.values()])

    # Partitions

    async def _claim(self, grant: Grant) -> None:
        async with self._one_claim[grant.partition]:
            if self.membership.claims(grant.partition, grant.number):
                await self._claim_now(grant)

    async def _claim_now(self, grant: Grant) -> None:
        if task := self._tasks.get(grant.partition):
            # The handler of the tenure before still has an event in hand.
            await asyncio.wait([task])
        nonce = secrets.token_hex(16)
        try:
            claimed = await self._claims.claim(grant.partition, grant.number, nonce)
        except StaleGrant as error:
            self._let_go(grant.partition, grant.number, int(error.details.get("seen", "0")))
            return
        except (RedisError, OSError, ProtocolError) as error:
            if isinstance(error, Unregistered):
                self._fail(Removed(_REMOVED.format(self.processor.name)))
            elif isinstance(error, Mismatch):
                self._fail(error)
            else:
                outage_log.failed("claim", error)
            with self._lock:
                self.membership.claim_again(grant.partition, grant.number)
            return
        outage_log.answered("claim")
        token = Token(claimed.epoch, nonce)
        with self._lock:
            wanted = self.membership.claims(grant.partition, grant.number)
            if wanted:
                self.membership.claimed(grant.partition, grant.number)
        if not wanted:
            await self._release(grant.partition, token, claimed.checkpoint)
            return
        state = PartitionState(grant.partition, grant.number, token, claimed)
        if self.processor.policy is ExceptionPolicy.HALT:
            state.suspicion.forgive()  # Whoever starts a halted worker again wants another try.
        queue = PartitionQueue(
            state,
            commit_each=self.processor.commit == "each",
            prefetch=self.processor.prefetch,
            retries=self.processor.retries,
            session=self._session,
            turn=self._turn_to_record,
            mark=self._pump.mark,
            wake=self._pump.wake,
            record_start=self._record_start,
        )
        if self._leaving:
            state.drain()
        self.queues[grant.partition] = queue
        self._tasks[grant.partition] = asyncio.create_task(self._work(queue))
        self._pump.add(state)
        self._moves.took(after=claimed.after if claimed.after != self._member else "")
        logger.debug(
            "claimed partition=%d epoch=%d checkpoint=%s processor=%s",
            state.partition,
            state.token.epoch,
            state.checkpoint,
            self.processor.name,
        )

    async def _release(self, partition: int, token: Token, checkpoint: str) -> None:
        """Give back a lease that came when it was not wanted any more."""
        step = CheckpointMove(checkpoint, checkpoint, 0, release=True)
        try:
            await self._backend.call(protocol.commit(self.processor.place(partition), token, step))
        except (RedisError, OSError, ProtocolError) as error:
            logger.debug("partition %d was not released: %s", partition, error)

    async def _release_cut_off(self, state: PartitionState) -> None:
        """Give back what the grace has cut off. Where user code has ended, that is an orderly end,
        and nobody is to believe that this worker died."""
        if not (state.draining and state.idle) or state.left_running or state.giving_up:
            return
        while step := state.next_commit():
            try:
                place = self.processor.place(state.partition)
                await self._backend.call(protocol.commit(place, state.token, step))
            except (RedisError, OSError, ProtocolError) as error:
                logger.debug("partition %d was not released: %s", state.partition, error)
                return
            state.committed(step)

    async def _work(self, queue: PartitionQueue) -> None:
        """Run the handler; then wait until the lease is given back."""
        state = queue.state
        about(partition=state.partition)
        try:
            try:
                await Runner(queue, self.processor, self._backend).run()
            except (Halted, HandlerExit) as ending:
                self._fail(ending)
                state.drain()  # An orderly end: nobody is to believe that this worker died.
            while not state.over:
                if state.draining:
                    self._pump.mark(state)
                queue.changed.clear()
                await queue.changed.wait()
        except asyncio.CancelledError:
            await self._release_cut_off(state)
            raise
        finally:
            state.end()
            if self.queues.get(state.partition) is queue:
                del self.queues[state.partition]
                del self._tasks[state.partition]
                self._pump.remove(state)
                self._moves.gave()
            self._let_go(state.partition, state.grant)

    def _fail(self, failure: Failure) -> None:
        self._failure = self._failure or failure
        if not isinstance(failure, Removed):  # The worker's other processors go on after that.
            self._tell(failure)
        self._failed.set()

    async def _record_start(self, state: PartitionState, event: str) -> None:
        """Until it is answered, or the partition closes: no event is to blame for a lost reply."""
        suspicion = state.suspicion
        attempts = suspicion.attempts if suspicion.event == event.encode() else 0
        place = self.processor.place(state.partition)
        call = protocol.attempt(place, state.token, "start", event, attempts)
        while state.open:
            try:
                await self._backend.call(call)
                outage_log.answered("start")
                return
            except ProtocolError as refusal:
                rebalance_log.lost(state.partition, refusal)
                state.end()
                return
            except (RedisError, OSError) as error:
                outage_log.failed("start", error)
            if queue := self._queue_of(state):
                await queue.pause(0.2)

    def _drain(self, queue: PartitionQueue) -> None:
        queue.state.drain()
        queue.changed.set()
        self._session.stir()

    def _let_go(self, partition: int, grant: int, seen: int = 0) -> None:
        with self._lock:
            self.membership.let_go(partition, grant, seen)
        self._sync_now.set()

    def _queue_of(self, state: PartitionState) -> PartitionQueue | None:
        queue = self.queues.get(state.partition)
        return queue if queue is not None and queue.state is state else None

    def _stirred(self, state: PartitionState) -> None:
        if queue := self._queue_of(state):
            queue.changed.set()

    def _suspected(self, state: PartitionState) -> None:
        """The log may have lost events: claim again under the same token, which tells."""
        queue = self._queue_of(state)
        if queue and not state.claiming:
            state.claiming = True
            self._spawn(self._claim_anew(queue))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._claiming[task] = None
        task.add_done_callback(self._claiming.pop)

    async def _claim_anew(self, queue: PartitionQueue) -> None:
        try:
            if await self._claims.again(queue):
                self._pump.mark(queue.state)
        finally:
            queue.state.claiming = False
        queue.changed.set()
        self._pump.wake(queue.state)
