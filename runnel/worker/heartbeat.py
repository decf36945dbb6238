"""The heartbeat of one member: it calls `sync` and carries out what the reply says."""

from __future__ import annotations

import asyncio

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.errors import ProtocolError, Replaced
from runnel.log import logger_of, reason
from runnel.processor import Processor
from runnel.protocol import Action, SyncReply
from runnel.worker import outage_log
from runnel.worker.backend import Backend
from runnel.worker.held_partitions import HeldPartitions
from runnel.worker.leaving import POLL
from runnel.worker.shared_membership import SharedMembership

logger = logger_of("runnel.worker")

#: Seconds that a heartbeat takes at most in a group of ordinary size.
LONG_SYNC = 0.01


class Heartbeat:
    """Renews the session, and drains and claims partitions as the group decides."""

    def __init__(
        self,
        processor: Processor,
        backend: Backend,
        membership: SharedMembership,
        partitions: HeldPartitions,
    ) -> None:
        self._processor = processor
        self._backend = backend
        self._membership = membership
        self._partitions = partitions
        #: When the event loop last ran this.
        self._alive_at = backend.clock()
        #: Seconds that the last heartbeat took.
        self._seconds = 0.0
        #: How many heartbeats got a reply.
        self.replies = 0

    async def run(self) -> None:
        """Call `sync` until cancelled. Raises Replaced."""
        membership, pause = self._membership, 0.1
        while True:
            membership.sync_now.clear()
            self._alive_at = self._backend.clock()
            try:
                reply = await self._sync("retire" if membership.retiring else "stay")
                wait = reply.session_ms / 3000
                if reply.next_call_ms is not None:
                    wait = min(wait, reply.next_call_ms / 1000 + 0.005)
                if membership.must_report:
                    wait = 0.0
                if not membership.session.alive():
                    wait = min(wait, 0.1)  # The reply was to a repeated call, and came late.
                if membership.retiring:  # `Leaver` wants to know whether Redis answers.
                    wait = min(wait, 2 * POLL)
                pause = 0.1
                outage_log.answered("heartbeat")
            except Replaced as error:
                raise Replaced(
                    f"another worker has started under the name {membership.member[0]!r}, so this "
                    "one ends: give each its own --name",
                    error.details,
                ) from None
            except (RedisError, OSError) as error:
                outage_log.failed("heartbeat", error)
                wait, pause = pause, min(pause * 2, 1.0)
                membership.sync_now.clear()
            self._partitions.claim_those_due()
            await self._wait(wait)
            if self._seconds > LONG_SYNC:
                # In a large group each report is expensive. During this pause further reports
                # accumulate, and other clients get as much time of Redis as the report took.
                await asyncio.sleep(min(self._seconds, 1.0))

    async def listen(self) -> None:
        """Call `sync` at once when the group announces a change. This only saves time: the
        heartbeats alone are sufficient. Look at delayed events when one is due sooner."""
        stream, promoter = self._processor.stream, self._partitions.partition_io.promoter
        delayed = {keys.delayed_wake(stream.app, stream.name): promoter.hint}
        wake = keys.wake(self._processor.group)
        await self._backend.listen(wake, self._membership.sync_now.set, delayed)

    async def leave(self, seconds: float) -> None:
        """Leave the group. If Redis does not reply in time, the session ends by itself."""
        try:
            async with asyncio.timeout(seconds):
                await self._sync("leave")
        except (RedisError, OSError, ProtocolError) as error:
            logger.warning(
                "processor %s: this member could not leave the group (%s): its partitions move "
                "to others when its session ends",
                self._processor.name,
                reason(error),
            )

    def blocked_for(self) -> float:
        """Seconds for which the event loop has not run the heartbeat."""
        return self._backend.clock() - self._alive_at

    def beat(self) -> None:
        """Send one heartbeat from a thread while user code blocks the event loop, and only renew
        the session.

        A worker that slept for longer than its session must not continue with partitions that
        others may own. So this renews the session only if everything that is held is still granted.
        """
        sent = self._membership.next_call("retire" if self._membership.retiring else "stay")
        reply = protocol.read_sync(self._backend.beat(sent.call))
        confirmed = self._membership.confirms_all(reply)
        if confirmed:
            self._membership.session.ends = sent.sent + reply.session_ms / 1000

    async def _sync(self, action: Action) -> SyncReply:
        if self._processor.concurrency > 1:
            self._membership.tell(protocol.in_hand_words(self._partitions.in_hand()))
        sent = self._membership.next_call(action)
        before = self._backend.clock()
        reply = protocol.read_sync(await self._backend.call(sent.call))
        changes = self._membership.replied(sent, reply)
        self.replies += 1
        self._seconds = self._backend.clock() - before
        self._membership.session.renew(sent.sent + reply.session_ms / 1000)
        self._partitions.carry_out(changes)
        return reply

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        began = self._backend.clock()
        try:
            async with asyncio.timeout(seconds):
                await self._membership.sync_now.wait()
        except TimeoutError:
            pass
        self._log_if_late(self._backend.clock() - began - seconds)

    def _log_if_late(self, seconds: float) -> None:
        """Log that this worker woke up so many seconds late, if its session has ended meanwhile."""
        if seconds < 0.1 or self._membership.session.alive() or not self._partitions.queues:
            return
        events = self._partitions.current_events()
        logger.error(
            "processor %s: this worker did not run for %.1f s and its session has ended: user code "
            "blocked the event loop, or the process was suspended. Other workers may own its "
            "partitions now; its current events: %s",
            self._processor.name,
            seconds,
            ("; ".join(events[:3]) + (f" and {len(events) - 3} more" if events[3:] else ""))
            or "nothing",
        )
