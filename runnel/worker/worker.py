"""A worker: runs processors and tasks of an app in this process until it must stop."""

from __future__ import annotations

import asyncio
import math
import operator
import os
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version as package_version

from redis.exceptions import RedisError, ResponseError

from runnel import keys, protocol
from runnel.app import App
from runnel.connection.connect import connect
from runnel.connection.durability import check_possible
from runnel.connection.explain import explain_redis_error
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.errors import BurstBlocked, ProtocolError, Removed
from runnel.log import about, logger_of
from runnel.operations.registry import announce_processor, announce_stream
from runnel.preflight.checks import check_worker
from runnel.preflight.server import ServerInfo, check_server
from runnel.preflight.table_checks import with_own_tables
from runnel.protocol import PartitionDescription, PartitionKeys
from runnel.protocol.ids import reached
from runnel.protocol.scripts import Scripts
from runnel.worker import outage_log
from runnel.worker.backend import RedisBackend
from runnel.worker.cancelling import CLEAN_UP, cancel_and_wait
from runnel.worker.heartbeat_thread import HeartbeatThread
from runnel.worker.leader_election import LeaderElection
from runnel.worker.member import Member
from runnel.worker.quarantine_reminder import blocking
from runnel.worker.scheduler import Scheduler

logger = logger_of("runnel.worker")


class Worker:
    """Runs processors. `name` is the member id, to keep over restarts; by default each start has a
    new one."""

    def __init__(self, app: App, processors: Iterable[str] = (), name: str | None = None) -> None:
        self.app = app
        self.processors = app.choose(processors)
        self.member = keys.check_name("member", name or f"w-{secrets.token_hex(3)}")
        self.stop = asyncio.Event()
        #: Called when the worker begins to end by itself, with the error if there is one.
        self.on_end: Callable[[BaseException | None], None] = lambda error: None
        self._reason: BaseException | None = None
        self._members: list[Member] = []
        self._scheduler: Scheduler | None = None
        #: Names of processors that an operator has removed while they ran here.
        self._removed: set[str] = set()

    async def run(
        self, *, burst: bool = False, ready: Callable[[ServerInfo], None] | None = None
    ) -> None:
        """Run until `stop` is set, or with `burst` until all events that existed at the start are
        committed.

        Then current events and running tasks have the setting `shutdown_timeout` to finish. User
        code that swallows its cancellation, and threads, may continue after that.

        Raises ServerError, Mismatch, Replaced, Removed, Halted, HandlerExit, BurstBlocked.
        """
        settings = self.app.settings
        self.app.stopping = self.stop
        client = connect(settings.redis_url)
        scripts = Scripts(client)
        try:
            starting = asyncio.create_task(self._start(scripts, ready))
            stopped = asyncio.create_task(self.stop.wait())
            try:
                await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
            finally:
                await cancel_and_wait((starting, stopped), CLEAN_UP)
            if not starting.done() or starting.cancelled():
                return  # It was stopped before it claimed anything.
            starting.result()
            await self._work(scripts, burst)
        except (RedisError, OSError) as error:
            raise explain_redis_error(error, settings.redis_url) or error from error
        finally:
            try:
                await client.aclose()
            finally:
                await self.app.close()

    def end_because(self, error: BaseException) -> None:
        """Stop, and let `run` raise this error."""
        if self._reason is None:
            self._reason = error
            self.on_end(error)
        self.stop.set()

    def unfinished(self) -> list[str]:
        """What is running, for people. Another thread may ask."""
        return [text for each in self._parts() for text in each.unfinished()]

    def cut_off(self) -> list[str]:
        """What did not finish within `shutdown_timeout`, for people. Another thread may ask."""
        return [text for each in self._parts() for text in each.cut_off]

    def _parts(self) -> list[Member | Scheduler]:
        return [*self._members, *([self._scheduler] if self._scheduler else [])]

    async def _start(self, scripts: Scripts, ready: Callable[[ServerInfo], None] | None) -> None:
        """Check the server and the streams, then register everything."""
        settings = self.app.settings
        info = await check_server(scripts.client, settings.redis_url, math.inf)
        await check_possible(await scripts.deployment.primaries(), settings.durability)
        found = await check_worker(scripts, self.app, self.processors, settings.redis_url)
        self.processors = [
            await with_own_tables(scripts, self.app, each) for each in self.processors
        ]
        for warning in (*info.warnings, *found):
            logger.warning(warning)
        await scripts.load()
        description = f"{socket.gethostname()} {os.getpid()} python {package_version('runnel')}"
        backend = RedisBackend(
            scripts, settings.redis_url, settings.durability, settings.prefetch_bytes
        )
        member = (self.member, description)
        start_lock = RecordedStartLock()
        self._members = [
            Member(each, settings, backend, member, start_lock) for each in self.processors
        ]
        for each in self._members:
            await each.register()
        for stream in self.app.streams.values():
            await announce_stream(scripts, stream.spec)
        for processor in self.app.processors.values():
            await announce_processor(scripts, processor)
        election = LeaderElection(
            scripts, self.app.name, self.member, settings.session_timeout, backend.listen
        )
        tasks = self.app.tasks.values()
        self._scheduler = Scheduler(tasks, scripts, self.app.name, election)
        if ready:
            ready(info)

    async def _work(self, scripts: Scripts, burst: bool) -> None:
        members, timeout = self._members, self.app.settings.shutdown_timeout
        running = {asyncio.create_task(self._run_member(each, timeout)): each for each in members}
        assert self._scheduler is not None
        scheduler = self._scheduler.run(self.stop, timeout, self.end_because)
        tasks = [asyncio.create_task(scheduler)]
        others = [asyncio.create_task(self._burst(scripts) if burst else self._stopped())]
        try:
            await self._until_one_ends(running, others)
            for task in (*running, *others):
                if task.done() and (error := task.exception()):
                    self.end_because(first_error(error))
            if not self.stop.is_set():
                self.on_end(None)
            self.stop.set()
            for task in others:
                task.cancel()  # It may wait for a reply of Redis, which is of no use any more.
            await asyncio.wait((*running, *tasks, *others))
            self._raise_first([*running, *tasks, *others])
        finally:
            await cancel_and_wait((*running, *tasks, *others))
            for each in members:
                await each.close()

    async def _run_member(self, member: Member, timeout: float) -> None:
        about(processor=member.processor.name)
        heartbeat_thread = HeartbeatThread(
            member, self.app.settings.max_block, asyncio.get_running_loop()
        )
        heartbeat_thread.start()
        try:
            await member.run(self.stop, timeout, self.end_because)
        except Removed:
            self._removed.add(member.processor.name)
            raise
        finally:
            heartbeat_thread.stop()

    def _raise_first(self, ended: list[asyncio.Task[None]]) -> None:
        """Raise the reason why the worker ends. Log all other errors."""
        errors = [task.exception() for task in ended if not task.cancelled()]
        found = [first_error(error) for error in errors if error]
        reason = self._reason or next(iter(found), None)
        for error in found:
            if error is not reason:
                logger.error("%s", error)
        if reason is not None:
            raise reason

    async def _until_one_ends(
        self, running: dict[asyncio.Task[None], Member], others: list[asyncio.Task[None]]
    ) -> None:
        """Wait for the first task to end, or for `stop`. A removed processor ends the worker only
        if it is the last one."""
        stopped = asyncio.create_task(self.stop.wait())
        try:
            while True:
                tasks = (*running, *others, stopped)
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if stopped.done() or any(task.done() for task in others):
                    return
                for task in [task for task in running if task.done()]:
                    removed = isinstance(task.exception(), Removed)
                    if not removed or len(running) == 1:
                        return
                    name = running.pop(task).processor.name
                    logger.error("%s", task.exception(), extra={"processor": name})
        finally:
            stopped.cancel()

    async def _stopped(self) -> None:
        await self.stop.wait()

    async def _burst(self, scripts: Scripts) -> None:
        """Wait until the group of each processor has committed all events that existed at the
        start, delayed ones that were due included, and what it has emitted for them is forwarded.
        A processor that an operator removes meanwhile is not waited for."""
        outage_log.watch("burst")
        all_ = [(each, p) for each in self.processors for p in range(each.stream.partition_count)]
        partition_keys = [each.keys(p) for each, p in all_]
        first: list[PartitionDescription] | None = None
        #: As soon as what was due at first has entered the logs.
        starts: list[PartitionDescription] | None = None
        #: What the outboxes had when all was committed.
        emitted: list[int] | None = None
        while not self.stop.is_set():
            if (described := await _describe(scripts, partition_keys)) is not None:
                first = first or described
                if starts is None and not any(map(_was_due, described, first)):
                    starts = described
                unfinished = [
                    (*each, now)
                    for each, now, start in zip(all_, described, starts or described, strict=True)
                    if each[0].name not in self._removed and not _all_committed(now, start)
                ]
                if starts and not unfinished:
                    emitted = emitted or [each.outbox_last or 0 for each in described]
                    done = (each.outbox_done or 0 for each in described)
                    if all(map(operator.ge, done, emitted)):
                        return
                elif unfinished and all(each.quarantined or each.paused for *_, each in unfinished):
                    raise BurstBlocked(blocking(unfinished))
            try:
                async with asyncio.timeout(0.1):
                    await self.stop.wait()
            except TimeoutError:
                pass


async def _describe(
    scripts: Scripts, partition_keys: Sequence[PartitionKeys]
) -> list[PartitionDescription] | None:
    """The replies of `describe`, or None if a call failed and must be repeated. Raises refusals."""
    replies = await scripts.call_all([protocol.describe(each) for each in partition_keys])
    for reply in replies:
        if isinstance(reply, (ResponseError, ProtocolError)):
            raise reply
        if isinstance(reply, Exception):
            outage_log.failed("status check", reply)
            return None
    outage_log.answered("status check")
    return [protocol.read_describe(reply) for reply in replies]


def _all_committed(now: PartitionDescription, start: PartitionDescription) -> bool:
    """Are all events committed that existed at the start? The last of them may have left the stream
    since; then it is sufficient that they were counted as lost."""
    if now.replay:
        return False  # There are parked events to be replayed.
    if reached(now.checkpoint or "0-0", start.last):
        return True
    counted = (now.read or 0) >= (start.added or 0)
    return counted and (now.next_id is None or not reached(start.last, now.next_id))


def _was_due(now: PartitionDescription, start: PartitionDescription) -> bool:
    """Does a delayed event wait that was due at the start?"""
    return now.delayed_due is not None and now.delayed_due <= (start.now or 0)


def first_error(error: BaseException) -> BaseException:
    """The first exception in nested groups that is no group itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
