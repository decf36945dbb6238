"""One processor's member of its group: joins, works until it is told to stop, and leaves."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from runnel.core.membership import Membership
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.errors import Removed
from runnel.log import about
from runnel.processor import Processor
from runnel.settings import Settings
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.cancelling import CLEAN_UP, end
from runnel.worker.heartbeat import Heartbeat
from runnel.worker.holdings import Failure, Holdings
from runnel.worker.leaving import AWAY, Holder
from runnel.worker.quarantine_reminder import remind
from runnel.worker.registering import register
from runnel.worker.shared_membership import SharedMembership


class Member:
    """A membership, its heartbeat, and the partitions held under it.

    `member` is the member's id and a description of the worker for people; `record_lock` is shared
    by all members of a worker.
    """

    def __init__(
        self,
        processor: Processor,
        settings: Settings,
        backend: Backend,
        member: tuple[str, str],
        record_lock: RecordedStartLock,
    ) -> None:
        self.processor = processor
        self._backend = backend
        times = (
            round(settings.session_timeout * 1000),
            round(settings.rebalance_timeout * 1000),
            round(settings.rebalance_delay * 1000),
        )
        membership = Membership(
            processor.group,
            processor.stream.partition_count,
            times,
            (member[0], secrets.token_hex(8), member[1]),
        )
        self.membership = SharedMembership(membership, backend.clock)
        self._holdings = Holdings(processor, backend, self.membership, record_lock, self._fail)
        self._heartbeat = Heartbeat(processor, backend, self.membership, self._holdings)
        self._failed = asyncio.Event()
        self._failure: Failure | None = None
        self._on_failure: Callable[[Exception], None] = lambda failure: None
        #: What did not finish within the setting `shutdown_timeout`.
        self.cut_off: list[str] = []

    @property
    def queues(self) -> dict[int, PartitionQueue]:
        """Partition -> its queue, for each partition held."""
        return self._holdings.queues

    @property
    def session(self) -> float:
        """Seconds that a session of the group lasts."""
        return self.membership.session_seconds

    async def register(self) -> None:
        """Make every partition ready. Raises Mismatch if the stream was declared otherwise."""
        await register(self.processor, self._backend)

    async def run(
        self, stop: asyncio.Event, timeout: float, failed: Callable[[Exception], None]
    ) -> None:
        """Work until `stop` is set or the member fails; then release everything and leave.

        `timeout` is in seconds: how long the events in hand may take then. `failed` is called at
        once with what the member ends for. Raises Halted, HandlerExit, Removed, Mismatch, Replaced.
        """
        self._on_failure = failed
        name = self.processor.name
        about(processor=name)
        outage_log.watch(f"processor {name}")
        rebalance_log.watch(self._holdings.moves)
        services = (
            self._holdings.fetcher.run,
            self._heartbeat.listen,
            self._heartbeat.run,
            self._remind,
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(service()) for service in services]
            stopping = asyncio.create_task(stop.wait())
            failing = asyncio.create_task(self._failed.wait())
            try:
                await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
                there = await self._release_all(timeout)
                # A heartbeat that reached the group after `leave` was made would be the newer call.
                await end(tasks)
                self._holdings.tell()
                if there:
                    await self._heartbeat.leave(CLEAN_UP if self.cut_off else AWAY)
            finally:
                await end((stopping, failing, *tasks))
        if self._failure is not None:
            raise self._failure

    def idle_for(self) -> float:
        """Seconds for which the event loop has not run the heartbeat."""
        return self._heartbeat.idle_for()

    def beat(self) -> None:
        """Send one heartbeat from another thread. Raises redis-py's errors, ProtocolError or
        OSError."""
        self._heartbeat.beat()

    def in_hand(self) -> list[str]:
        """What is at work, for people. Another thread may ask."""
        return self._leaver().in_hand()

    async def close(self) -> None:
        """End what still runs. A task that swallows its cancellation is left behind."""
        await self._holdings.close()

    async def _release_all(self, timeout: float) -> bool:
        """Finish what is in hand, commit and release. Returns False if Redis does not answer.

        The heartbeat goes on meanwhile: each partition moves to another member as soon as it is
        released.
        """
        self.membership.leaving = True
        self.membership.sync_now.set()
        self._holdings.drain_all()
        there, self.cut_off = await self._leaver().finish(timeout)
        await self.close()
        return there

    def _leaver(self) -> Holder:
        return Holder(
            self.processor.name,
            self._holdings.tasks,
            self._holdings.states,
            lambda: self._heartbeat.answers,
        )

    async def _remind(self) -> None:
        await remind(self.processor, self._holdings.states)

    def _fail(self, failure: Failure) -> None:
        self._failure = self._failure or failure
        if not isinstance(failure, Removed):  # The worker's other processors go on after that.
            self._on_failure(failure)
        self._failed.set()
