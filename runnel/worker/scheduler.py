"""Runs an app's tasks, timers and cron tasks in a worker."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.delivery.cancellation import asked_to_end
from runnel.errors import HandlerExit, ProtocolError
from runnel.log import logger_of
from runnel.protocol.scripts import Call, Scripts
from runnel.tasks import Crontab, Task, Timer
from runnel.worker import outage_log
from runnel.worker.cancelling import CLEAN_UP, cancel_and_wait
from runnel.worker.leader_election import LEAVE_TIMEOUT, LeaderElection

logger = logger_of("runnel.tasks")

#: The longest sleep, in seconds, before the clock is read again: it may have been set meanwhile.
MAX_SLEEP = 60.0
#: Seconds after which a late run is logged.
LATE = 5.0


class Scheduler:
    """All tasks of an app in this worker.

    The wait for the next run (`_plan`) and the run itself are different tasks of asyncio: when the
    worker shuts down, waits are cancelled at once, and runs may finish.
    """

    def __init__(
        self, tasks: Iterable[Task], scripts: Scripts, app: str, election: LeaderElection
    ) -> None:
        self._tasks = list(tasks)
        self._scripts = scripts
        self._app = app
        self._election = election
        self._nonce = secrets.token_hex(8)
        #: Each run, and its task.
        self._runs: dict[asyncio.Task[bool], Task] = {}
        #: Those of them that still ask Redis whether they may run.
        self._claiming: set[asyncio.Task[Any]] = set()
        self._stopping = False
        #: What did not finish within the setting `shutdown_timeout`.
        self.cut_off: list[str] = []
        self._exit: Callable[[HandlerExit], None] = lambda exit: None

    def unfinished(self) -> list[str]:
        """The tasks that are running, for people. Another thread may ask."""
        claiming = set(self._claiming)
        return [
            f"task {task.name}" for run, task in list(self._runs.items()) if run not in claiming
        ]

    def problem(self) -> str | None:
        """Why cron tasks may not run although they should, or None. Another thread may ask."""
        return self._election.problem()

    async def run(
        self, stop: asyncio.Event, timeout: float, failed: Callable[[HandlerExit], None]
    ) -> None:
        """Run until `stop` is set; what runs then has `timeout` seconds to finish.

        Whatever a task raises is logged and counted, and harms nothing else. Only for `sys.exit`
        and KeyboardInterrupt, `failed` is called.
        """
        if not self._tasks:
            return
        self._exit = failed
        outage_log.watch("tasks")
        loop = asyncio.get_running_loop()
        led = any(task.on_leader for task in self._tasks)
        leading = [asyncio.create_task(self._election.run())] if led else []
        waiting = [asyncio.create_task(self._plan(task)) for task in self._tasks]
        try:
            await stop.wait()
            self._stopping = True
            deadline = loop.time() + timeout
            await cancel_and_wait(waiting)
            if self._claiming:
                await asyncio.wait(self._claiming, timeout=min(LEAVE_TIMEOUT, timeout))
                await cancel_and_wait(self._claiming)
            # Finish what runs as leader before the lease is released, so that no other worker runs
            # it at the same time.
            await self._finish([run for run, task in self._runs.items() if task.on_leader], timeout)
            await cancel_and_wait(leading)
            await self._election.leave(CLEAN_UP if self.cut_off else LEAVE_TIMEOUT)
            await self._finish(list(self._runs), deadline - loop.time())
        finally:
            self._stopping = True
            await cancel_and_wait((*waiting, *leading))
            await cancel_and_wait(self._runs, CLEAN_UP)
            await self._election.leave()

    async def _finish(self, runs: list[asyncio.Task[bool]], seconds: float) -> None:
        if not runs:
            return
        _, late = await asyncio.wait(runs, timeout=max(0.0, seconds))
        if late:
            names = [f"task {self._runs[run].name}" for run in late]
            self.cut_off += [name for name in names if name not in self.cut_off]
            logger.warning("cut off, because shutdown_timeout is over: %s", ", ".join(names))
            await cancel_and_wait(late, CLEAN_UP)

    # Waiting for the next run

    async def _plan(self, task: Task) -> None:
        while True:
            try:
                if isinstance(task, Timer):
                    await self._run_timer(task)
                elif not isinstance(task, Crontab):
                    await self._run_once(task)
                    return
                elif task.on_leader:
                    await self._run_on_leader(task)
                else:
                    await self._run_on_each_worker(task)
            except Exception:
                logger.exception("task %s could not be planned, retrying", task.name)
                await asyncio.sleep(MAX_SLEEP)

    async def _run_once(self, task: Task) -> None:
        if task.on_leader:
            await self._election.leading.wait()
        await self._start(task, self._run(task))

    async def _run_timer(self, task: Timer) -> None:
        while True:
            await asyncio.sleep(task.interval)
            if not task.on_leader or self._election.leading.is_set():
                await self._start(task, self._run(task))

    async def _run_on_each_worker(self, task: Crontab) -> None:
        last = _now()
        while True:
            last = await self._next(task, last)
            await self._start(task, self._run(task))

    async def _run_on_leader(self, task: Crontab) -> None:
        """While this worker leads, run the task at each instant. First make up for the latest one
        that the previous leader may have missed because it died, left or was restarted."""
        await self._announce(task)
        while True:
            await self._election.leading.wait()
            # Again, because the key that stores the last run may have been lost.
            await self._announce(task)
            last = _now()
            if missed := task.latest(last, task.catch_up):
                last = missed
                if not await self._run_due(task, missed):
                    continue
            while True:
                due = await self._next(task, last)
                if not self._election.leading.is_set() or not await self._run_due(task, due):
                    break
                last = due

    async def _next(self, task: Crontab, last: datetime) -> datetime:
        """Wait for the next instant after `last`. Returns the latest one that is due."""
        instants = task.instants(last)
        due = next(instants)
        while (left := (due - _now()).total_seconds()) > 0:  # noqa: ASYNC110 - it is a clock
            await asyncio.sleep(min(left, MAX_SLEEP))
        now = _now() + timedelta(milliseconds=1)
        for later in instants:
            if later > now:
                break
            due = later
        return due

    async def _announce(self, task: Crontab) -> None:
        """Tell Redis of the task. Instants before the first announcement are never made up for."""
        for _ in range(1_000_000):
            try:
                await self._scripts.call(self._tick(task, 0))
                outage_log.answered("tick")
                return
            except ProtocolError as error:
                logger.error("task %s: %s", task.name, error)
                return
            except (RedisError, OSError) as error:
                outage_log.failed("tick", error)
            await asyncio.sleep(1.0)

    async def _run_due(self, task: Crontab, due: datetime) -> bool:
        """Run the task if it has not run for this instant. Returns False if that is unknown."""
        return await self._start(task, self._claim_and_run(task, due))

    # Running

    async def _start(self, task: Task, work: Coroutine[Any, Any, bool]) -> bool:
        run = asyncio.create_task(work, name=f"task {task.name}")
        self._runs[run] = task
        run.add_done_callback(lambda run: self._runs.pop(run, None))
        await asyncio.wait([run])
        return run.cancelled() or run.result()

    async def _claim_and_run(self, task: Crontab, due: datetime) -> bool:
        this = asyncio.current_task()
        assert this is not None
        self._claiming.add(this)
        try:
            may = await self._may_run(task, due)
        finally:
            self._claiming.discard(this)
        if may and (late := (_now() - due).total_seconds()) > LATE:
            logger.info("task %s makes up for %s, %.0f s late", task.name, due, late)
        return await self._run(task) if may else may is not None

    async def _may_run(self, task: Crontab, due: datetime) -> bool | None:
        """May the task run for this instant? Redis allows each instant once; only a leader asks.
        None if there is no reply."""
        while self._election.leading.is_set() and not self._stopping:
            try:
                call = self._tick(task, round(due.timestamp() * 1000))
                tick = protocol.read_tick(await self._scripts.call(call))
            except ProtocolError as error:
                logger.error("task %s: %s", task.name, error)
                return False
            except (RedisError, OSError) as error:
                outage_log.failed("tick", error)
                await asyncio.sleep(0.5)
                continue
            outage_log.answered("tick")
            if not tick.early:
                return tick.fire
            await asyncio.sleep(tick.wait_ms / 1000)
        return None

    def _tick(self, task: Crontab, instant: int) -> Call:
        return protocol.tick(self._app, task.name, instant, self._nonce, task.schedule)

    async def _run(self, task: Task) -> bool:
        try:
            await task.function()
        except asyncio.CancelledError:
            if self._stopping:
                raise
            self._count(task, "was cancelled")
        except BaseException as error:
            if (exit_ := asked_to_end(error)) is None:
                self._count(task, "failed")
            else:
                ending = HandlerExit.of(exit_)
                logger.error("task %s ends this worker: %s", task.name, ending)
                self._exit(ending)
        return True

    def _count(self, task: Task, what: str) -> None:
        task.failures += 1
        logger.exception("task %s %s (%d times by now)", task.name, what, task.failures)


def _now() -> datetime:
    return datetime.now(UTC)
