"""A worker: runs processors and tasks of an app in this process until it must stop."""

from __future__ import annotations

import asyncio
import math
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from importlib.metadata import version as package_version
from typing import Any

from redis.exceptions import RedisError

from runnel import keys
from runnel.app import App
from runnel.app_lifespan import stopping_here
from runnel.connection.connect import connect
from runnel.connection.durability import check_possible
from runnel.connection.explain import explain_redis_error
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.errors import Removed
from runnel.lifespan import LifespanRun
from runnel.log import about, logger_of
from runnel.operations.registry import announce_processor, announce_stream
from runnel.preflight.checks import check_worker
from runnel.preflight.server import ServerInfo, check_server
from runnel.preflight.table_checks import with_own_tables
from runnel.protocol.observed_scripts import scripts_of
from runnel.protocol.scripts import Scripts, version
from runnel.worker.backend import RedisBackend
from runnel.worker.block import Block
from runnel.worker.burst import until_committed
from runnel.worker.cancelling import CLEAN_UP, cancel_and_wait, first_error
from runnel.worker.health import Health
from runnel.worker.heartbeat_thread import HeartbeatThread
from runnel.worker.leader_election import LeaderElection
from runnel.worker.member import Member
from runnel.worker.scheduler import Scheduler

logger = logger_of("runnel.worker")


def call_timeout(session_timeout: float) -> float:
    """Seconds that a call may take: a third of a session, so that one that is never answered does
    not cost it. Less than a second and a half would break off the wait for a replica."""
    return min(max(session_timeout / 3, 1.5), 5.0)


class Worker(Block):
    """Runs processors and tasks of an app in this event loop: by `await worker.run()`, or while a
    block runs, ``async with Worker(app):``.

    Without `processors` it runs all. `name` is the member id, to keep over restarts; by default
    each start has a new one. With `burst` it ends once all events that existed at the start are
    committed. With `signals`, SIGTERM and SIGINT end it. A worker runs once. Raises ConfigError.
    """

    def __init__(
        self,
        app: App,
        processors: Iterable[str] = (),
        name: str | None = None,
        *,
        burst: bool = False,
        signals: bool = False,
    ) -> None:
        super().__init__(keys.check_name("member", name or f"w-{secrets.token_hex(3)}"), signals)
        self.app = app
        self.processors = app.choose(processors)
        #: Called when the worker begins to end by itself, with the error if there is one.
        self.on_end: Callable[[BaseException | None], None] = lambda error: None
        self._burst = burst
        self._ready: Callable[[ServerInfo], None] = lambda info: None
        self._reason: BaseException | None = None
        self._members: list[Member] = []
        self._scheduler: Scheduler | None = None
        self._hooks: LifespanRun | None = None
        #: When everything must have ended, by the loop's clock.
        self._deadline: float | None = None
        #: Names of processors that an operator has removed while they ran here.
        self._removed: set[str] = set()

    async def run(
        self, *, burst: bool = False, ready: Callable[[ServerInfo], None] | None = None
    ) -> None:
        """Run until `stop` is set, or with `burst` until all events that existed at the start are
        committed. `ready` is called once the server was checked.

        Then current events and running tasks, and after them the shutdown functions, have the
        setting `shutdown_timeout` to finish. User code that swallows its cancellation, and threads,
        may continue after that. If this call is cancelled, it ends in the same way; if it is
        cancelled again, at once.

        Raises ServerError, Mismatch, Replaced, Removed, Halted, HandlerExit, BurstBlocked,
        LifespanFailed.
        """
        self._burst = burst or self._burst
        self._ready = ready or self._ready
        await self.run_until_cancelled()

    async def work(self) -> None:
        """What `run` does, in a task of its own."""
        settings = self.app.settings
        self.app.stopping = self.stop
        stopping_here.set(self.stop)
        client = connect(settings.redis_url, call_timeout(settings.session_timeout))
        scripts = scripts_of(client, self.app.observers)
        try:
            if await self._unless_stopped(self._start(scripts)):
                await self._inside_lifespan(scripts)
        except (RedisError, OSError) as error:
            raise explain_redis_error(error, settings.redis_url) or error from error
        finally:
            await client.aclose()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Returns False if the worker was stopped before this was done."""
        starting = asyncio.create_task(work)
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait((starting, stopped), CLEAN_UP)
        if not starting.done() or starting.cancelled():
            return False
        starting.result()
        return True

    async def _inside_lifespan(self, scripts: Scripts) -> None:
        """Call the startup functions, work, and call the shutdown functions, whatever happens."""
        hooks = self._hooks = await self.app.hooks.begin()
        failed = True
        try:
            if await self._unless_stopped(hooks.started()):
                self.started.set()
                await self._work(scripts, hooks)
            failed = False
        finally:
            timeout = self.app.settings.shutdown_timeout
            now = asyncio.get_running_loop().time()
            left = timeout if self._deadline is None else max(CLEAN_UP, self._deadline - now)
            if not self.stop.is_set():
                self.on_end(hooks.failure)
                self.stop.set()
            await hooks.end(left, quiet=failed)

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

    def health(self) -> Health:
        """Does this worker live, and is it ready? Another thread may ask."""
        working = [each for each in self._parts() if not isinstance(each, LifespanRun)]
        return self.judged(self.app.settings.max_block, working)

    def _parts(self) -> list[Member | Scheduler | LifespanRun]:
        others = (self._scheduler, self._hooks)
        return [*self._members, *(each for each in others if each is not None)]

    async def _start(self, scripts: Scripts) -> None:
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
        description = (
            f"{socket.gethostname() or '-'} {os.getpid()} python {package_version('runnel')} "
            f"{version()}"
        )
        backend = RedisBackend(
            scripts, settings.redis_url, settings.durability, settings.prefetch_bytes
        )
        member = (self.member, description)
        start_lock = RecordedStartLock()
        self._members = [
            Member(each, settings, backend, member, start_lock, self.app.observers)
            for each in self.processors
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
        self._ready(info)

    async def _work(self, scripts: Scripts, hooks: LifespanRun) -> None:
        members, timeout = self._members, self.app.settings.shutdown_timeout
        running = {asyncio.create_task(self._run_member(each, timeout)): each for each in members}
        assert self._scheduler is not None
        scheduler = self._scheduler.run(self.stop, timeout, self.end_because)
        tasks = [asyncio.create_task(scheduler)]
        until = self._until_committed(scripts) if self._burst else self._stopped()
        others = [asyncio.create_task(until), asyncio.create_task(hooks.broke.wait())]
        try:
            await self._until_one_ends(running, others)
            self._deadline = asyncio.get_running_loop().time() + timeout
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

    def _raise_first(self, ended: Sequence[asyncio.Task[Any]]) -> None:
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
        self, running: dict[asyncio.Task[None], Member], others: Sequence[asyncio.Task[Any]]
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

    async def _until_committed(self, scripts: Scripts) -> None:
        await until_committed(self.processors, scripts, self.stop, self._removed)
