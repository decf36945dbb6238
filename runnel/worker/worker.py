"""A worker: one process that runs processors of an app until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable
from importlib.metadata import version as package_version
from typing import Any, TypeVar

from redis.exceptions import RedisError

from runnel import keys, protocol
from runnel.app import App
from runnel.connection import ServerInfo, check_server, connect, translate
from runnel.core.ids import reached
from runnel.durability import check_possible
from runnel.errors import Removed
from runnel.preflight import check_worker
from runnel.registry import announce_processor, announce_stream
from runnel.scripts import Scripts
from runnel.turn import Turn
from runnel.worker.calendar import Calendar, Leadership
from runnel.worker.ending import end
from runnel.worker.group import Group
from runnel.worker.link import RedisLink
from runnel.worker.reminder import in_the_way
from runnel.worker.voucher import Voucher

T = TypeVar("T")

logger = logging.getLogger("runnel.worker")


class BurstBlocked(Exception):
    """A quarantined or paused partition stands in the way of a burst."""


class Worker:
    """Runs processors. `name` is a stable member id; by default it is new for every start."""

    def __init__(self, app: App, processors: Iterable[str] = (), name: str | None = None) -> None:
        self.app = app
        self.processors = app.choose(processors)
        self.member = keys.check_name("member", name or f"w-{secrets.token_hex(3)}")
        self.stop = asyncio.Event()

    async def run(
        self, *, burst: bool = False, ready: Callable[[ServerInfo], None] | None = None
    ) -> None:
        """Run until `stop` is set, or with `burst` until all that was there at the start is done.

        Raises ServerError, Mismatch, Replaced, Halted, BurstBlocked.
        """
        settings = self.app.settings
        client = connect(settings.redis_url)
        scripts = Scripts(client)
        try:
            info = await self._unless_stopped(check_server(client, settings.redis_url, math.inf))
            if info is None:
                return
            await check_possible(await scripts.deployment.primaries(), settings.durability)
            found = await check_worker(scripts, self.app, self.processors, settings.redis_url)
            for warning in (*info.warnings, *found):
                logger.warning(warning)
            await scripts.load()
            description = f"{socket.gethostname()} {os.getpid()} python {package_version('runnel')}"
            link = RedisLink(scripts, settings.redis_url, settings.durability)
            member = (self.member, description)
            turn = Turn()
            groups = [Group(each, settings, link, member, turn) for each in self.processors]
            for group in groups:
                await group.register()
            for stream in self.app.streams.values():
                await announce_stream(scripts, stream.spec)
            for processor in self.app.processors.values():
                await announce_processor(scripts, processor)
            if ready:
                ready(info)
            leadership = Leadership(scripts, self.app.name, self.member, settings.session)
            calendar = Calendar(self.app.tasks.values(), scripts, self.app.name, leadership)
            tasks = asyncio.create_task(calendar.run())
            try:
                await self._run_groups(groups, scripts, burst, settings.grace)
            finally:
                await end((tasks,))
        except (RedisError, OSError) as error:
            raise translate(error, settings.redis_url) or error from error
        finally:
            await client.aclose()
            await self.app.close()

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The outcome of what may wait for long, or None if the worker is to stop before that."""
        task, stopping = asyncio.create_task(work), asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            await end((task, stopping))

    async def _run_groups(
        self, groups: list[Group], scripts: Scripts, burst: bool, grace: float
    ) -> None:
        running = [asyncio.create_task(self._run_group(group, grace)) for group in groups]
        others = [asyncio.create_task(self._burst(scripts) if burst else self._stopped())]
        try:
            await self._until_one_ends(running, others)
            self.stop.set()
            await asyncio.wait((*running, *others))
            errors = [error for task in (*running, *others) if (error := task.exception())]
            for error in errors[1:]:
                logger.error("%s", _first(error))
            if errors:
                raise _first(errors[0])
        finally:
            await end((*running, *others))
            for group in groups:
                await group.close()

    async def _run_group(self, group: Group, grace: float) -> None:
        voucher = Voucher(group, self.app.settings.max_block)
        voucher.start()
        try:
            await group.run(self.stop, grace)
        finally:
            voucher.stop()

    async def _until_one_ends(
        self, running: list[asyncio.Task[None]], others: list[asyncio.Task[None]]
    ) -> None:
        """Wait for the first task to end. A removed processor ends the worker only if it was the
        last one."""
        while True:
            await asyncio.wait((*running, *others), return_when=asyncio.FIRST_COMPLETED)
            if any(task.done() for task in others):
                return
            for task in [task for task in running if task.done()]:
                removed = isinstance(task.exception(), Removed)
                if not removed or len(running) == 1:
                    return
                running.remove(task)
                logger.error("%s", task.exception())

    async def _stopped(self) -> None:
        await self.stop.wait()

    async def _burst(self, scripts: Scripts) -> None:
        """Wait until the whole group of each processor has passed what was there at the start."""
        held = [(each, p) for each in self.processors for p in range(each.stream.partition_count)]
        places = [each.place(p) for each, p in held]
        starts: list[dict[str, str]] | None = None
        while not self.stop.is_set():
            replies = await scripts.call_all([protocol.describe(place) for place in places])
            pictures = [protocol.read_describe(reply) for reply in replies]
            starts = starts or pictures
            behind = [
                (*each, picture)
                for each, picture, start in zip(held, pictures, starts, strict=True)
                if not _passed(picture, start)
            ]
            if not behind:
                return
            if all("1" in (each.get("quarantined"), each.get("paused")) for *_, each in behind):
                raise BurstBlocked(in_the_way(behind))
            try:
                async with asyncio.timeout(0.1):
                    await self.stop.wait()
            except TimeoutError:
                pass

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT: finish what is in hand. A second one ends the process at once."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            if self.stop.is_set():
                os._exit(130)
            logger.info("stopping: finishing what is in hand (again to end at once)")
            self.stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)


def _passed(picture: dict[str, str], start: dict[str, str]) -> bool:
    """Is all that was there at the start finished? What left the stream since is never reached, and
    need not be once it has been counted as lost."""
    last, pending = start.get("last", "0-0"), picture.get("pending")
    if reached(picture.get("checkpoint", "0-0"), last):
        return True
    counted = int(picture.get("read", "0")) >= int(start.get("added", "0"))
    return counted and (pending is None or not reached(last, pending))


def _first(error: BaseException) -> BaseException:
    """The first plain exception inside nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
