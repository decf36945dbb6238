"""Runs an app's tasks, timers and cron tasks in a worker."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.errors import HandlerExit, ProtocolError, asked_to_end
from runnel.log import logger_of
from runnel.protocol.scripts import Call, Scripts
from runnel.tasks import Crontab, Task, Timer
from runnel.worker import outage_log
from runnel.worker.cancelling import CLEAN_UP, end
from runnel.worker.leader_election import GOODBYE, LeaderElection

logger = logger_of("runnel.tasks")

#: Seconds after which a wait for an instant looks at the clock again: it may have been set.
LOOK = 60.0
#: Seconds after which it is worth a line that an instant fires late.
LATE = 5.0


class Scheduler:
    """All tasks of an app in this worker.

    Who waits for the next run (`_keep`) and the run itself are tasks of their own: the end of the
    worker cancels those that wait at once, and lets those that run finish.
    """

    def __init__(
        self, tasks: Iterable[Task], scripts: Scripts, app: str, election: LeaderElection
    ) -> None:
        self._tasks = list(tasks)
        self._scripts = scripts
        self._app = app
        self._election = election
        self._nonce = secrets.token_hex(8)
        #: What runs, and for which task.
        self._runs: dict[asyncio.Task[bool], Task] = {}
        #: Those of them that only ask yet if they may.
        self._asking: set[asyncio.Task[Any]] = set()
        self._stopping = False
        #: What did not finish within the grace.
        self.cut_off: list[str] = []
        self._exit: Callable[[HandlerExit], None] = lambda exit: None

    def in_hand(self) -> list[str]:
        """What runs, for people. Another thread may ask."""
        claiming = set(self._asking)
        return [
            f"task {task.name}" for run, task in list(self._runs.items()) if run not in claiming
        ]

    async def run(
        self, stop: asyncio.Event, grace: float, failed: Callable[[HandlerExit], None]
    ) -> None:
        """Run until `stop` is set; what runs then has `grace` seconds to finish.

        A task that raises, whatever it is, is logged and counted, and harms nothing else. Only
        `sys.exit` and KeyboardInterrupt go further: `failed` is told.
        """
        if not self._tasks:
            return
        self._exit = failed
        outage_log.watch("tasks")
        loop = asyncio.get_running_loop()
        led = any(task.on_leader for task in self._tasks)
        leading = [asyncio.create_task(self._election.run())] if led else []
        waiting = [asyncio.create_task(self._keep(task)) for task in self._tasks]
        try:
            await stop.wait()
            self._stopping = True
            deadline = loop.time() + grace
            await end(waiting)
            if self._asking:
                await asyncio.wait(self._asking, timeout=min(GOODBYE, grace))
                await end(self._asking)
            # Two leaders at a time are for accidents: what a leader runs is finished first.
            await self._finish([run for run, task in self._runs.items() if task.on_leader], grace)
            await end(leading)
            await self._election.leave(CLEAN_UP if self.cut_off else GOODBYE)
            await self._finish(list(self._runs), deadline - loop.time())
        finally:
            self._stopping = True
            await end((*waiting, *leading))
            await end(self._runs, CLEAN_UP)
            await self._election.leave()

    async def _finish(self, runs: list[asyncio.Task[bool]], seconds: float) -> None:
        if not runs:
            return
        _, late = await asyncio.wait(runs, timeout=max(0.0, seconds))
        if late:
            names = [f"task {self._runs[run].name}" for run in late]
            self.cut_off += [name for name in names if name not in self.cut_off]
            logger.warning("cut off, since the grace is over: %s", ", ".join(names))
            await end(late, CLEAN_UP)

    # Waiting for the next run

    async def _keep(self, task: Task) -> None:
        while True:
            try:
                if isinstance(task, Timer):
                    await self._keep_timer(task)
                elif not isinstance(task, Crontab):
                    await self._keep_once(task)
                    return
                elif task.on_leader:
                    await self._keep_led(task)
                else:
                    await self._keep_clock(task)
            except Exception:
                logger.exception("task %s could not be planned, trying again", task.name)
                await asyncio.sleep(LOOK)

    async def _keep_once(self, task: Task) -> None:
        if task.on_leader:
            await self._election.leading.wait()
        await self._start(task, self._run(task))

    async def _keep_timer(self, task: Timer) -> None:
        while True:
            await asyncio.sleep(task.interval)
            if not task.on_leader or self._election.leading.is_set():
                await self._start(task, self._run(task))

    async def _keep_clock(self, task: Crontab) -> None:
        last = _now()
        while True:
            last = await self._next(task, last)
            await self._start(task, self._run(task))

    async def _keep_led(self, task: Crontab) -> None:
        """While this worker leads, offer each instant; first the latest that may have been missed:
        the leader before may have died, left or been restarted when it was due."""
        await self._make_known(task)
        while True:
            await self._election.leading.wait()
            # Again: keys may have been lost, and with them what was fired.
            await self._make_known(task)
            last = _now()
            if missed := task.latest(last, task.catch_up):
                last = missed
                if not await self._offer(task, missed):
                    continue
            while True:
                due = await self._next(task, last)
                if not self._election.leading.is_set() or not await self._offer(task, due):
                    break
                last = due

    async def _next(self, task: Crontab, last: datetime) -> datetime:
        """Wait for the next instant after `last`. Returns the latest that has come."""
        instants = task.instants(last)
        due = next(instants)
        while (left := (due - _now()).total_seconds()) > 0:  # noqa: ASYNC110 - it is a clock
            await asyncio.sleep(min(left, LOOK))
        now = _now() + timedelta(milliseconds=1)
        for later in instants:
            if later > now:
                break
            due = later
        return due

    async def _make_known(self, task: Crontab) -> None:
        """Tell Redis of the task. Nothing that was due before anybody did that is made up for."""
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

    async def _offer(self, task: Crontab, due: datetime) -> bool:
        """Run the task if this instant is still to be fired. Returns False if that was not told."""
        return await self._start(task, self._fire(task, due))

    # Running

    async def _start(self, task: Task, work: Coroutine[Any, Any, bool]) -> bool:
        run = asyncio.create_task(work, name=f"task {task.name}")
        self._runs[run] = task
        run.add_done_callback(lambda run: self._runs.pop(run, None))
        await asyncio.wait([run])
        return run.cancelled() or run.result()

    async def _fire(self, task: Crontab, due: datetime) -> bool:
        me = asyncio.current_task()
        assert me is not None
        self._asking.add(me)
        try:
            may = await self._may_fire(task, due)
        finally:
            self._asking.discard(me)
        if may and (late := (_now() - due).total_seconds()) > LATE:
            logger.info("task %s makes up for %s, %.0f s late", task.name, due, late)
        return await self._run(task) if may else may is not None

    async def _may_fire(self, task: Crontab, due: datetime) -> bool | None:
        """Ask Redis, which says yes to one caller for each instant; only a leader asks. None if
        there is no answer."""
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
