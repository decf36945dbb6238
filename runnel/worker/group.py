"""One processor's group as this worker sees it: sync, claim, work, release."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.connection import connect, connect_sync
from runnel.core.lane import Lane
from runnel.core.membership import Membership
from runnel.errors import Gone, ProtocolError, Stale, Unregistered
from runnel.processor import Processor
from runnel.protocol import Claimed, Grant, Synced, Token
from runnel.registry import announce_processor
from runnel.scripts import Scripts
from runnel.settings import Settings
from runnel.worker.committer import Committer
from runnel.worker.ending import end
from runnel.worker.lease import Lease
from runnel.worker.reader import BLOCK_MS, Reader
from runnel.worker.runner import Halted, Runner
from runnel.worker.voucher import Voucher

logger = logging.getLogger("runnel.worker")


class Group:
    """A membership and the partitions held under it."""

    def __init__(
        self, processor: Processor, settings: Settings, scripts: Scripts, member: tuple[str, str]
    ) -> None:
        self.processor = processor
        self._settings = settings
        self._scripts = scripts
        times = tuple(
            round(seconds * 1000)
            for seconds in (settings.session, settings.drain, settings.collect)
        )
        self._member = member[0]
        self.membership = Membership(
            processor.group,
            processor.stream.partition_count,
            (times[0], times[1], times[2]),
            (member[0], secrets.token_hex(8), member[1]),
        )
        #: Guards the membership: the vouching thread makes calls from it too.
        self.lock = threading.Lock()
        #: Monotonic time at which the session may have ended.
        self.session_ends = 0.0
        self.leases: dict[int, Lease] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._claims: set[asyncio.Task[None]] = set()
        #: Partition -> events processed when its counts were last found to agree.
        self._counted: dict[int, int] = {}
        self._sync_now = asyncio.Event()
        self._vouched = asyncio.Event()
        self._leaving = False
        self._halted = asyncio.Event()
        self.failure: Halted | None = None
        #: Monotonic time at which the event loop was last seen running.
        self._alive_at = time.monotonic()
        self._committer = Committer(processor, scripts, self._settled)
        self._blocking = connect(settings.redis_url, BLOCK_MS / 1000 + 5)
        self._reader = Reader(
            processor, self._blocking, scripts.client, self._arrived, self._suspected
        )

    # Life

    async def register(self) -> None:
        """Make every partition ready. Raises Mismatch if the stream was made otherwise."""
        stream = self.processor.stream
        calls = [
            protocol.register(self.processor.place(p), stream.agreement, self.processor.start)
            for p in range(stream.partition_count)
        ]
        for reply in await self._scripts.call_all(calls):
            if isinstance(reply, Exception):
                raise reply

    async def run(self, stop: asyncio.Event, grace: float) -> None:
        """Work until `stop` is set or an event halts the worker; then hand everything back.

        Raises Halted, Mismatch.
        """
        services = (self._committer.run, self._reader.run, self._listen, self._heartbeat)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(service()) for service in services]
            voucher = Voucher(self._settings, self._vouch, lambda: self._alive_at)
            voucher.start()
            try:
                stopping = asyncio.create_task(stop.wait())
                halting = asyncio.create_task(self._halted.wait())
                await asyncio.wait((stopping, halting), return_when=asyncio.FIRST_COMPLETED)
                await self._leave(grace)
            finally:
                voucher.stop()
                await end((stopping, halting, *tasks))
        if self.failure is not None:
            raise self.failure

    async def _leave(self, grace: float) -> None:
        """Finish what is in hand, commit, release, leave the group."""
        self._leaving = True
        for lease in list(self.leases.values()):
            self._drain(lease)
        running = list(self._tasks.values())
        if running:
            _, late = await asyncio.wait(running, timeout=grace)
            if late:
                logger.warning("%d partitions were not finished within the grace", len(late))
                await end(late)
        try:
            await self._sync(leave=True)
        except (RedisError, OSError, ProtocolError) as error:
            logger.warning("could not say goodbye to the group: %s", error)

    async def close(self) -> None:
        """Close the connections of its own."""
        await end((*self._tasks.values(), *self._claims))
        await self._blocking.aclose()

    # Membership

    async def _heartbeat(self) -> None:
        pause = 0.1
        while True:
            self._sync_now.clear()
            self._alive_at = time.monotonic()
            wait: float
            try:
                synced = await self._sync()
                wait = synced.session_ms / 3000
                if synced.again_ms is not None:
                    wait = min(wait, synced.again_ms / 1000 + 0.005)
                if self.membership.must_report:
                    wait = 0.0
                pause = 0.1
            except (RedisError, OSError) as error:
                logger.warning("heartbeat not answered: %s", error)
                wait, pause = pause, min(pause * 2, 1.0)
                self._sync_now.clear()
            self._count_at_rest()
            if time.monotonic() >= self.session_ends:
                self._vouched.clear()
            if wait > 0:
                try:
                    async with asyncio.timeout(wait):
                        await self._sync_now.wait()
                except TimeoutError:
                    pass

    def _count_at_rest(self) -> None:
        """Where all is finished, a repeated claim tells if the counts agree: it finds entries that
        others deleted one by one ahead of the checkpoint, which no read shows."""
        for lease in self.leases.values():
            lane = lease.lane
            if lane.open and lane.at_rest and lane.processed != self._counted.get(lane.partition):
                self._counted[lane.partition] = lane.processed
                self._suspected(lane)

    async def _sync(self, leave: bool = False) -> Synced:
        with self.lock:
            reported = self.membership.reported()
            number, call = self.membership.next_call(leave)
        before = time.monotonic()
        synced = protocol.read_sync(await self._scripts.call(call))
        with self.lock:
            orders = self.membership.replied(number, reported, synced)
        self.session_ends = before + synced.session_ms / 1000
        self._vouched.set()
        if not leave:
            for partition in orders.drain:
                if lease := self.leases.get(partition):
                    self._drain(lease)
                else:
                    self._let_go(partition, self.membership.held[partition])
            for grant in orders.claim:
                task = asyncio.create_task(self._claim(grant))
                self._claims.add(task)
                task.add_done_callback(self._claims.discard)
        return synced

    def _vouch(self) -> None:
        """Heartbeat from a thread while user code blocks the event loop. Takes no orders."""
        with self.lock:
            _, call = self.membership.next_call()
        before = time.monotonic()
        with connect_sync(self._settings.redis_url) as client:
            reply = client.execute_command(*call.command())
        self.session_ends = before + protocol.read_sync(reply).session_ms / 1000

    async def _listen(self) -> None:
        """Sync at once when the group says that something changed. Only a hint: heartbeats do."""
        channel = keys.wake(self.processor.group)
        while True:
            client = connect(self._settings.redis_url, None)
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(channel)
                    async for _ in pubsub.listen():
                        self._sync_now.set()
            except (RedisError, OSError) as error:
                logger.debug("wake-up channel lost: %s", error)
                await asyncio.sleep(1.0)
            finally:
                await client.aclose()

    # Partitions

    async def _claim(self, grant: Grant) -> None:
        if task := self._tasks.get(grant.partition):
            # The handler of the tenure before still has an event in hand.
            await asyncio.wait([task])
        nonce = secrets.token_hex(16)
        try:
            claimed = await self._claim_with(grant.partition, grant.number, nonce)
        except Stale as error:
            self._let_go(grant.partition, grant.number, int(error.details.get("seen", "0")))
            return
        except (RedisError, OSError, ProtocolError) as error:
            logger.warning("could not claim partition %d: %s", grant.partition, error)
            with self.lock:
                self.membership.claim_again(grant.partition, grant.number)
            return
        if self._leaving:
            return
        with self.lock:
            self.membership.claimed(grant.partition, grant.number)
        lane = Lane(grant.partition, grant.number, Token(claimed.epoch, nonce), claimed)
        lease = Lease(
            lane, self.processor, self._scripts, self._committer, self._reader.poke, self._vouched
        )
        self.leases[grant.partition] = lease
        self._tasks[grant.partition] = asyncio.create_task(self._work(lease))
        self._read_lanes()
        logger.info(
            "claimed partition=%d epoch=%d checkpoint=%s processor=%s",
            lane.partition,
            lane.token.epoch,
            lane.checkpoint,
            self.processor.name,
        )

    async def _claim_with(self, partition: int, grant: int, nonce: str) -> Claimed:
        """Claim, mend what vanished, and accept a loss once it has been said aloud."""
        place, agreement = self.processor.place(partition), self.processor.stream.agreement
        accept: int | None = None
        while True:
            call = protocol.claim(place, agreement, self._member, grant, nonce, accept)
            try:
                claimed = protocol.read_claim(await self._scripts.call(call))
            except (Gone, Unregistered) as error:
                if isinstance(error, Unregistered) and error.details.get("removed") == "1":
                    raise
                logger.error("partition %d has lost keys, making them anew: %s", partition, error)
                await self._scripts.call(protocol.register(place, agreement, self.processor.start))
                await announce_processor(self._scripts, self.processor)
                continue
            if claimed.lost is None:
                return claimed
            logger.error(
                "processor %s, partition %d: %s %d unfinished events have left the stream; "
                "going on behind %s",
                self.processor.name,
                partition,
                "exactly" if claimed.exact else "at least",
                claimed.lost,
                claimed.checkpoint,
            )
            accept = claimed.lost

    async def _work(self, lease: Lease) -> None:
        """Run the handler; then wait until the lease is given back."""
        lane = lease.lane
        try:
            await Runner(lease, self.processor, self._scripts).run()
            while not lane.over:
                if lane.draining:
                    self._committer.mark(lane)
                lease.changed.clear()
                await lease.changed.wait()
        except Halted as halted:
            self.failure = self.failure or halted
            self._halted.set()
            await lease.flush()
        finally:
            lane.over = True
            if self.leases.get(lane.partition) is lease:
                del self.leases[lane.partition]
                del self._tasks[lane.partition]
                self._read_lanes()
            self._let_go(lane.partition, lane.grant)

    def _drain(self, lease: Lease) -> None:
        lease.lane.draining = True
        lease.changed.set()

    def _let_go(self, partition: int, grant: int, seen: int = 0) -> None:
        with self.lock:
            self.membership.let_go(partition, grant, seen)
        self._sync_now.set()

    def _read_lanes(self) -> None:
        self._reader.set_lanes(lease.lane for lease in self.leases.values())

    def _lease_of(self, lane: Lane) -> Lease | None:
        lease = self.leases.get(lane.partition)
        return lease if lease is not None and lease.lane is lane else None

    def _settled(self, lane: Lane) -> None:
        if lease := self._lease_of(lane):
            lease.changed.set()

    _arrived = _settled

    def _suspected(self, lane: Lane) -> None:
        """The log may have lost events: claim again under the same token, which tells."""
        if lease := self._lease_of(lane):
            task = asyncio.create_task(self._claim_anew(lease))
            self._claims.add(task)
            task.add_done_callback(self._claims.discard)

    async def _claim_anew(self, lease: Lease) -> None:
        lane = lease.lane
        await lease.flush()
        asked_at = lane.checkpoint
        try:
            claimed = await self._claim_with(lane.partition, lane.grant, lane.token.nonce)
            lane.reclaimed(claimed, asked_at)
        except ProtocolError as error:
            logger.warning("partition %d: %s", lane.partition, error)
            lane.over = True
        except (RedisError, OSError) as error:
            logger.warning("partition %d: %s", lane.partition, error)
        lease.changed.set()
        self._reader.poke()
