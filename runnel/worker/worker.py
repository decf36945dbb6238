"""A worker: one process that runs processors of an app until it is told to stop."""

from __future__ import annotations

import asyncio
import math
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
from runnel.log import logger_of
from runnel.operations.registry import announce_processor, announce_stream
from runnel.preflight.checks import check_worker
from runnel.preflight.server import ServerInfo, check_server
from runnel.protocol import PartitionDescription, PartitionKeys
from runnel.protocol.ids import reached
from runnel.protocol.scripts import Scripts
from runnel.worker import outage_log
from runnel.worker.backend import RedisBackend
from runnel.worker.cancelling import CLEAN_UP, end
from runnel.worker.heartbeat_thread import HeartbeatThread
from runnel.worker.leader_election import LeaderElection
from runnel.worker.member import Member
from runnel.worker.quarantine_reminder import in_the_way
from runnel.worker.scheduler import Scheduler

logger = logger_of("runnel.worker")


class Worker:
    """Runs processors. `name` is a stable member id; by default it is new for every start."""

    def __init__(self, app: App, processors: Iterable[str] = (), name: str | None = None) -> None:
        self.app = app
        self.processors = app.choose(processors)
        self.member = keys.check_name("member", name or f"w-{secrets.token_hex(3)}")
        self.stop = asyncio.Event()
        #: Called when the worker begins to end by itself, with the error if there is one.
        self.on_end: Callable[[BaseException | None], None] = lambda error: None
        self._reason: BaseException | None = None
        self._groups: list[Member] = []
        self._scheduler: Scheduler | None = None
        #: Names of processors that an operator has removed while they ran here.
        self._removed: set[str] = set()

    async def run(
        self, *, burst: bool = False, ready: Callable[[ServerInfo], None] | None = None
    ) -> None:
        """Run until `stop` is set, or with `burst` until all that was there at the start is done.

        Then what is in hand has the setting `grace` to finish. User code that swallows its
        cancellation, and threads, may go on after that.

        Raises ServerError, Mismatch, Replaced, Halted, HandlerExit, BurstBlocked.
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
                await end((starting, stopped), CLEAN_UP)
            if not starting.done() or starting.cancelled():
                return  # It was stopped before it had anything in hand.
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
        """End, as if `stop` were set, and let `run` raise this."""
        if self._reason is None:
            self._reason = error
            self.on_end(error)
        self.stop.set()

    def in_hand(self) -> list[str]:
        """What is at work, for people. Another thread may ask."""
        return [text for each in self._parts() for text in each.in_hand()]

    def cut_off(self) -> list[str]:
        """What did not finish within the grace, for people. Another thread may ask."""
        return [text for each in self._parts() for text in each.cut_off]

    def _parts(self) -> list[Member | Scheduler]:
        return [*self._groups, *([self._scheduler] if self._scheduler else [])]

    async def _start(self, scripts: Scripts, ready: Callable[[ServerInfo], None] | None) -> None:
        """Check what can be checked, then register everything."""
        settings = self.app.settings
        info = await check_server(scripts.client, settings.redis_url, math.inf)
        await check_possible(await scripts.deployment.primaries(), settings.durability)
        found = await check_worker(scripts, self.app, self.processors, settings.redis_url)
        for warning in (*info.warnings, *found):
            logger.warning(warning)
        await scripts.load()
        description = f"{socket.gethostname()} {os.getpid()} python {package_version('runnel')}"
        backend = RedisBackend(
            scripts, settings.redis_url, settings.durability, settings.prefetch_bytes
        )
        member = (self.member, description)
        turn = RecordedStartLock()
        self._groups = [Member(each, settings, backend, member, turn) for each in self.processors]
        for group in self._groups:
            await group.register()
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
        groups, grace = self._groups, self.app.settings.shutdown_timeout
        running = [asyncio.create_task(self._run_group(group, grace)) for group in groups]
        assert self._scheduler is not None
        scheduler = self._scheduler.run(self.stop, grace, self.end_because)
        tasks = [asyncio.create_task(scheduler)]
        others = [asyncio.create_task(self._burst(scripts) if burst else self._stopped())]
        try:
            await self._until_one_ends(running, others)
            for task in (*running, *others):
                if task.done() and (error := task.exception()):
                    self.end_because(first_of(error))
            if not self.stop.is_set():
                self.on_end(None)
            self.stop.set()
            for task in others:
                task.cancel()  # It may wait for an answer of Redis, which is of no use any more.
            await asyncio.wait((*running, *tasks, *others))
            self._raise_first([*running, *tasks, *others])
        finally:
            await end((*running, *tasks, *others))
            for group in groups:
                await group.close()

    async def _run_group(self, group: Member, grace: float) -> None:
        heartbeat_thread = HeartbeatThread(
            group, self.app.settings.max_block, asyncio.get_running_loop()
        )
        heartbeat_thread.start()
        try:
            await group.run(self.stop, grace, self.end_because)
        except Removed:
            self._removed.add(group.processor.name)
            raise
        finally:
            heartbeat_thread.stop()

    def _raise_first(self, ended: list[asyncio.Task[None]]) -> None:
        """Raise what the worker ends for; what else went wrong on the way is logged."""
        errors = [task.exception() for task in ended if not task.cancelled()]
        found = [first_of(error) for error in errors if error]
        reason = self._reason or next(iter(found), None)
        for error in found:
            if error is not reason:
                logger.error("%s", error)
        if reason is not None:
            raise reason

    async def _until_one_ends(
        self, running: list[asyncio.Task[None]], others: list[asyncio.Task[None]]
    ) -> None:
        """Wait for the first task to end, or for `stop`. A removed processor ends the worker only
        if it was the last one."""
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
                    running.remove(task)
                    logger.error("%s", task.exception())
        finally:
            stopped.cancel()

    async def _stopped(self) -> None:
        await self.stop.wait()

    async def _burst(self, scripts: Scripts) -> None:
        """Wait until the whole group of each processor has passed what was there at the start. One
        that an operator removes meanwhile passes nothing more, and is not waited for."""
        outage_log.watch("burst")
        held = [(each, p) for each in self.processors for p in range(each.stream.partition_count)]
        places = [each.keys(p) for each, p in held]
        starts: list[PartitionDescription] | None = None
        while not self.stop.is_set():
            if (pictures := await _pictures(scripts, places)) is not None:
                starts = starts or pictures
                behind = [
                    (*each, picture)
                    for each, picture, start in zip(held, pictures, starts, strict=True)
                    if each[0].name not in self._removed and not _passed(picture, start)
                ]
                if not behind:
                    return
                if all(each.quarantined or each.paused for *_, each in behind):
                    raise BurstBlocked(in_the_way(behind))
            try:
                async with asyncio.timeout(0.1):
                    await self.stop.wait()
            except TimeoutError:
                pass


async def _pictures(
    scripts: Scripts, places: Sequence[PartitionKeys]
) -> list[PartitionDescription] | None:
    """What `describe` tells of each, or None where Redis does not answer and is to be asked again.
    Raises what it refuses."""
    replies = await scripts.call_all([protocol.describe(place) for place in places])
    for reply in replies:
        if isinstance(reply, (ResponseError, ProtocolError)):
            raise reply
        if isinstance(reply, Exception):
            outage_log.failed("look at what is left", reply)
            return None
    outage_log.answered("look at what is left")
    return [protocol.read_describe(reply) for reply in replies]


def _passed(now: PartitionDescription, start: PartitionDescription) -> bool:
    """Is all that was there at the start finished? What left the stream since is never reached, and
    need not be once it has been counted as lost."""
    if reached(now.checkpoint or "0-0", start.last):
        return True
    counted = (now.read or 0) >= (start.added or 0)
    return counted and (now.next_id is None or not reached(start.last, now.next_id))


def first_of(error: BaseException) -> BaseException:
    """The first plain exception inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
