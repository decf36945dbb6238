"""Tasks, timers and cron tasks in a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, keys
from runnel.errors import HandlerExit
from runnel.protocol.scripts import Scripts
from runnel.tasks import Crontab, Function, Task, Timer
from runnel.worker.leader_election import LeaderElection
from runnel.worker.scheduler import Scheduler
from runnel.worker.worker import Worker


async def test_a_failing_timer_harms_nothing_else_and_never_overlaps_itself(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    running, most, calls, others = 0, 0, 0, 0
    enough = asyncio.Event()

    @app.timer(interval=0.01)
    async def faulty() -> None:
        nonlocal running, most, calls
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        calls += 1
        if calls >= 3 and others:
            enough.set()
        raise ValueError("on purpose")

    @app.task()
    async def once() -> None:
        nonlocal others
        others += 1

    worker = Worker(app)
    run = asyncio.create_task(worker.run())
    await asyncio.wait_for(enough.wait(), 10)
    worker.stop.set()
    await run
    assert (most, others) == (1, 1)
    assert app.tasks["faulty"].failures >= 3


class Unasked(LeaderElection):
    """Leads without asking Redis: two workers may do so for up to a session."""

    async def run(self) -> None:
        self.leading.set()
        await asyncio.Event().wait()

    async def leave(self, seconds: float = 0) -> None:
        self.leading.clear()


class Seen(Scheduler):
    """Sets `waits` once it waits for the next instant: a missed one was made up for by then."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.waits = asyncio.Event()

    async def _next(self, task: Crontab, last: datetime) -> datetime:
        self.waits.set()
        return await super()._next(task, last)


def led(redis: Redis, app: str, *tasks: Task, worker: str = "w") -> Seen:
    election = Unasked(Scripts(redis), app, worker, 5)
    return Seen(tasks, Scripts(redis), app, election)


@asynccontextmanager
async def running(
    *schedulers: Scheduler, timeout: float = 5.0, exits: list[HandlerExit] | None = None
) -> AsyncIterator[asyncio.Event]:
    """Run schedulers. Set the event to shut them down."""
    stop = asyncio.Event()
    errors = [] if exits is None else exits
    runs = [asyncio.create_task(each.run(stop, timeout, errors.append)) for each in schedulers]
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.gather(*runs)


def minutes_ago(minutes: float) -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=minutes)


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


async def cancelled_by_somebody() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def fails_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())


async def fails() -> None:
    raise ValueError("on purpose")


class Private(BaseException):
    """As a library raises it that does not want ``except Exception`` to catch it."""


async def fails_oddly() -> None:
    raise BaseExceptionGroup("on purpose", [Private()])


async def raises_stop() -> None:
    raise StopAsyncIteration


async def leaves_its_generator() -> None:
    raise GeneratorExit


ODD = [
    cancelled_by_somebody,
    cancels_itself,
    fails_in_a_group,
    fails_oddly,
    raises_stop,
    leaves_its_generator,
]


@pytest.mark.parametrize("odd", ODD, ids=[each.__name__ for each in ODD])
async def test_whatever_a_task_raises_it_runs_again_and_so_do_the_others(
    redis: Redis, app_name: str, odd: Function, caplog: pytest.LogCaptureFixture
) -> None:
    times = {"timer": 0, "other": 0}
    enough = asyncio.Event()

    async def other() -> None:
        times["other"] += 1
        if min(times.values()) >= 3:
            enough.set()

    async def timer() -> None:
        times["timer"] += 1
        await odd()

    tasks = [
        Timer("timer", timer, on_leader=False, interval=0.01),
        Timer("other", other, on_leader=True, interval=0.01),
        Task("once", odd, on_leader=False),
    ]
    async with running(led(redis, app_name, *tasks)):
        await asyncio.wait_for(enough.wait(), 10)
    assert tasks[0].failures >= 3
    assert (tasks[1].failures, tasks[2].failures) == (0, 1)
    assert "task timer" in caplog.text


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), BaseExceptionGroup("two", [SystemExit(3)])]
)
async def test_a_task_may_end_the_worker(
    redis: Redis, redis_url: str, app_name: str, error: BaseException
) -> None:
    app = App(app_name, redis_url=redis_url)

    @app.timer(interval=0.01)
    async def leaves() -> None:
        raise error

    with pytest.raises(HandlerExit) as raised:
        await asyncio.wait_for(Worker(app).run(), 20)
    assert raised.value.code == (130 if isinstance(error, KeyboardInterrupt) else 3)


async def test_what_runs_when_the_worker_ends_may_finish_and_nothing_begins(
    redis: Redis, app_name: str
) -> None:
    begun, may_end, done = asyncio.Event(), asyncio.Event(), []

    async def close_books() -> None:
        begun.set()
        await may_end.wait()
        done.append("books")

    async def other() -> None:
        done.append("other")

    scheduler = led(
        redis,
        app_name,
        Timer("books", close_books, on_leader=True, interval=0.01),
        Timer("other", other, on_leader=False, interval=0.01),
    )
    async with running(scheduler) as stop:
        await asyncio.wait_for(begun.wait(), 10)
        stop.set()
        await asyncio.sleep(0)
        others = done.count("other")
        assert scheduler.unfinished() == ["task books"]
        for _ in range(100):
            await asyncio.sleep(0.001)
        may_end.set()
    assert done.count("books") == 1
    assert done.count("other") - others <= 1  # One may have been running.


async def test_what_does_not_finish_within_shutdown_timeout_is_named(
    redis: Redis, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun, cut = asyncio.Event(), []

    async def endless() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append("endless")
            raise

    task = Task("endless", endless, on_leader=False)
    async with running(led(redis, app_name, task), timeout=0.05):
        await asyncio.wait_for(begun.wait(), 10)
    assert (cut, task.failures) == (["endless"], 0)
    assert "cut off, because shutdown_timeout is over: task endless" in caplog.text


async def test_all_that_was_cut_off_is_named(redis: Redis, app_name: str) -> None:
    begun = asyncio.Semaphore(0)

    async def endless() -> None:
        begun.release()
        await asyncio.Event().wait()

    tasks = [Task(name, endless, on_leader=name == "led") for name in ("led", "everywhere")]
    scheduler = led(redis, app_name, *tasks)
    async with running(scheduler, timeout=0.05):
        for _ in tasks:
            await asyncio.wait_for(begun.acquire(), 10)
    assert scheduler.cut_off == ["task led", "task everywhere"]


@pytest.mark.parametrize(
    ("due", "known", "fired", "catch_up", "times"),
    [
        (5, 60, None, 3600, 1),  # It has not run.
        (5, 60, 5, 3600, 0),  # It has run.
        (5, 60, 65, 3600, 1),  # The one before has run.
        (5, 3, None, 3600, 0),  # The task was deployed after it.
        (5, None, None, 3600, 0),  # It is deployed now.
        (5, 60, None, 0, 0),  # Switched off.
        (5, 60, None, 120, 0),  # Too long ago.
    ],
)
async def test_a_new_leader_makes_up_for_the_latest_instant_that_was_missed(
    redis: Redis,
    app_name: str,
    due: float,
    known: float | None,
    fired: float | None,
    catch_up: float,
    times: int,
) -> None:
    runs: list[str] = []
    ran = asyncio.Event()

    async def nightly() -> None:
        runs.append("nightly")
        ran.set()

    at = minutes_ago(due)
    spec = f"{at.minute} * * * *"
    task = Crontab("nightly", nightly, on_leader=True, spec=spec, zone=UTC, catch_up=catch_up)
    if fired is not None:
        last = f"{ms(minutes_ago(fired))} nonce {task.schedule}"
    else:
        last = f"{ms(minutes_ago(known or 0))} . {task.schedule}"
    if known is not None:
        await redis.hset(keys.ticks(app_name), "nightly", last)
    leaders = [led(redis, app_name, task, worker=each) for each in "ab"]
    async with running(*leaders):
        if times:
            await asyncio.wait_for(ran.wait(), 10)
        for leader in leaders:
            await asyncio.wait_for(leader.waits.wait(), 10)
    assert len(runs) == times


async def test_an_instant_runs_once_even_if_two_workers_lead(redis: Redis, app_name: str) -> None:
    fired: list[str] = []
    enough = asyncio.Event()

    def scheduler(worker: str) -> Scheduler:
        async def work() -> None:
            fired.append(worker)
            if len(fired) >= 2:
                enough.set()

        task = Crontab("work", work, on_leader=True, spec="* * * * * *", zone=UTC)
        return led(redis, app_name, task, worker=worker)

    started = datetime.now(UTC)
    async with running(scheduler("a"), scheduler("b")):
        await asyncio.wait_for(enough.wait(), 10)
        seconds = int(datetime.now(UTC).timestamp()) - int(started.timestamp())
        assert len(fired) <= seconds
