"""Runs an app's tasks, timers and cron tasks in a worker."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError

from runnel import protocol
from runnel.errors import ProtocolError
from runnel.scripts import Scripts
from runnel.tasks import Crontab, Task, Timer

logger = logging.getLogger("runnel.tasks")


class Leadership:
    """This worker's part in the app's leader lease. `session` is in seconds."""

    def __init__(self, scripts: Scripts, app: str, member: str, session: float) -> None:
        self.leading = asyncio.Event()
        self._scripts = scripts
        self._app = app
        self._member = member
        self._session = session
        self._nonce = secrets.token_hex(8)

    async def run(self) -> None:
        """Take the lease when it is free and keep it, until cancelled; then give it up."""
        loop = asyncio.get_running_loop()
        ends = 0.0
        try:
            while True:
                before = loop.time()
                try:
                    if await self._ask(leave=False):
                        ends = before + self._session
                        self.leading.set()
                    else:
                        self.leading.clear()
                except (RedisError, OSError) as error:
                    logger.warning("leader lease not answered: %s", error)
                    if loop.time() >= ends:
                        self.leading.clear()
                await asyncio.sleep(self._session / 3)
        finally:
            self.leading.clear()
            try:
                await self._ask(leave=True)
            except (RedisError, OSError):
                logger.debug("the leader lease will end by itself")

    async def _ask(self, leave: bool) -> bool:
        session_ms = round(self._session * 1000)
        call = protocol.lead(self._app, self._member, self._nonce, session_ms, leave)
        return bool((await self._scripts.call(call))[0])


class Calendar:
    """All tasks of an app in this worker."""

    def __init__(
        self, tasks: Iterable[Task], scripts: Scripts, app: str, leadership: Leadership
    ) -> None:
        self._tasks = list(tasks)
        self._scripts = scripts
        self._app = app
        self._leadership = leadership

    async def run(self) -> None:
        """Run until cancelled. A task that raises is logged and counted, and harms nothing else."""
        if not self._tasks:
            return
        async with asyncio.TaskGroup() as group:
            if any(task.on_leader for task in self._tasks):
                group.create_task(self._leadership.run())
            for task in self._tasks:
                group.create_task(self._keep(task))

    async def _keep(self, task: Task) -> None:
        if isinstance(task, Timer):
            while True:
                await asyncio.sleep(task.interval)
                await self._run_if_leading(task)
        elif isinstance(task, Crontab):
            await self._follow(task)
        else:
            if task.on_leader:
                await self._leadership.leading.wait()
            await self._run(task)

    async def _run_if_leading(self, task: Task) -> None:
        if not task.on_leader or self._leadership.leading.is_set():
            await self._run(task)

    async def _run(self, task: Task) -> None:
        try:
            await task.function()
        except Exception:
            task.failures += 1
            logger.exception("task %s failed (%d times by now)", task.name, task.failures)

    async def _follow(self, task: Crontab) -> None:
        last = datetime.now(UTC)
        while True:
            instants = task.instants(last)
            due = next(instants)
            await asyncio.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))
            now = datetime.now(UTC) + timedelta(milliseconds=1)
            for later in instants:
                if later > now:
                    break
                due = later
            last = due
            if not task.on_leader or (
                self._leadership.leading.is_set() and await self._may_fire(task, due)
            ):
                await self._run(task)

    async def _may_fire(self, task: Crontab, due: datetime) -> bool:
        """Ask Redis, which says yes to one caller for each instant; only a leader asks."""
        if not self._leadership.leading.is_set():
            return False
        instant, nonce = round(due.timestamp() * 1000), secrets.token_hex(8)
        while True:
            try:
                call = protocol.tick(self._app, task.name, instant, nonce)
                status, wait = await self._scripts.call(call)
            except ProtocolError as error:
                logger.error("task %s: %s", task.name, error)
                return False
            except (RedisError, OSError) as error:
                logger.warning("tick not answered, asking again: %s", error)
                await asyncio.sleep(0.5)
                continue
            if int(status) != 2:
                return int(status) == 1
            await asyncio.sleep(int(wait) / 1000)
