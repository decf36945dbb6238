"""One processor's member of its group: joins, works until it must stop, and leaves."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence

from runnel.core.membership import Membership
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.errors import Removed
from runnel.log import about
from runnel.observer import Observer
from runnel.processor import Processor
from runnel.settings import Settings
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.cancelling import CLEAN_UP, cancel_and_wait
from runnel.worker.heartbeat import Heartbeat
from runnel.worker.held_partitions import EndReason, HeldPartitions
from runnel.worker.leaving import NO_REPLY, Leaver
from runnel.worker.quarantine_reminder import remind
from runnel.worker.registering import register
from runnel.worker.shared_membership import SharedMembership
from runnel.worker.trimming import trim_by_age


class Member:
    """A membership, its heartbeat, and the partitions held under it.

    `member` is the member's id and a description of the worker for people; `start_lock` is shared
    by all members of a worker. `observers` are told what happens to events.
    """

    def __init__(
        self,
        processor: Processor,
        settings: Settings,
        backend: Backend,
        member: tuple[str, str],
        start_lock: RecordedStartLock,
        observers: Sequence[Observer] = (),
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
        self._partitions = HeldPartitions(
            processor, backend, self.membership, start_lock, self._fail, observers
        )
        self._heartbeat = Heartbeat(processor, backend, self.membership, self._partitions)
        self._failed = asyncio.Event()
        self._failure: EndReason | None = None
        self._on_failure: Callable[[Exception], None] = lambda failure: None
        #: What did not finish within the setting `shutdown_timeout`.
        self.cut_off: list[str] = []

    @property
    def queues(self) -> dict[int, PartitionQueue]:
        """Partition -> its queue, for each partition held."""
        return self._partitions.queues

    @property
    def session_seconds(self) -> float:
        """Seconds that a session of the group lasts."""
        return self.membership.session_seconds

    def problem(self) -> str | None:
        """Why this is no member of its group now, or None. Another thread may ask."""
        name, session = self.processor.name, self.membership.session
        if session.alive() or isinstance(self._failure, Removed):
            return None
        if not session.ends:
            return f"processor {name}: it has not joined its group yet"
        seconds = session.clock() - session.ends
        return f"processor {name}: its session ended {seconds:.0f} s ago: no heartbeat was answered"

    async def register(self) -> None:
        """Register on every partition. Raises Mismatch if the stream was declared otherwise."""
        await register(self.processor, self._backend)

    async def run(
        self, stop: asyncio.Event, timeout: float, failed: Callable[[Exception], None]
    ) -> None:
        """Work until `stop` is set or the member fails; then release everything and leave.

        `timeout` is how many seconds the current events may take then. If the member fails,
        `failed` is called at once with the reason.

        Raises Halted, HandlerExit, Removed, Mismatch, Replaced.
        """
        self._on_failure = failed
        name = self.processor.name
        about(processor=name)
        outage_log.watch(f"processor {name}")
        rebalance_log.watch(self._partitions.moves)
        services = (
            self._partitions.partition_io.run,
            self._heartbeat.listen,
            self._heartbeat.run,
            self._remind,
            self._trim,
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(service()) for service in services]
            stopping = asyncio.create_task(stop.wait())
            failing = asyncio.create_task(self._failed.wait())
            try:
                await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
                answers = await self._release_all(timeout)
                # A heartbeat must not reach the group after the call with `leave`.
                await cancel_and_wait(tasks)
                self._partitions.log_pending()
                if answers:
                    await self._heartbeat.leave(CLEAN_UP if self.cut_off else NO_REPLY)
            finally:
                await cancel_and_wait((stopping, failing, *tasks))
        if self._failure is not None:
            raise self._failure

    def blocked_for(self) -> float:
        """Seconds for which the event loop has not run the heartbeat."""
        return self._heartbeat.blocked_for()

    def beat(self) -> None:
        """Send one heartbeat from another thread. Raises redis-py's errors, ProtocolError or
        OSError."""
        self._heartbeat.beat()

    def unfinished(self) -> list[str]:
        """What the handlers are working on, for people. Another thread may ask."""
        return self._leaver().unfinished()

    async def close(self) -> None:
        """End what still runs. A task that swallows its cancellation is left running."""
        await self._partitions.close()

    async def _release_all(self, timeout: float) -> bool:
        """Finish the current events, commit and release. Returns whether Redis answers.

        The heartbeat continues, so that each partition moves to another member as soon as it is
        released.
        """
        self.membership.retiring = True
        self.membership.sync_now.set()
        self._partitions.drain_all()
        answers, self.cut_off = await self._leaver().finish(timeout)
        await self.close()
        return answers

    def _leaver(self) -> Leaver:
        return Leaver(
            self.processor.name,
            self._partitions.tasks,
            self._partitions.states,
            lambda: self._heartbeat.replies,
        )

    async def _remind(self) -> None:
        await remind(self.processor, self._partitions.states)

    async def _trim(self) -> None:
        await trim_by_age(self.processor, self._backend, self._partitions.states)

    def _fail(self, failure: EndReason) -> None:
        self._failure = self._failure or failure
        if not isinstance(failure, Removed):  # Its other processors continue.
            self._on_failure(failure)
        self._failed.set()
