"""Tasks, timers and cron tasks beside processors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, keys
from runnel.errors import ConfigError, HandlerExit
from runnel.protocol.scripts import Scripts
from runnel.tasks import Crontab, Function, Task, Timer, check_cron
from runnel.worker.backend import RedisBackend
from runnel.worker.cancelling import end
from runnel.worker.leader_election import LeaderElection
from runnel.worker.scheduler import Scheduler
from runnel.worker.worker import Worker
from tests.worker.workers import until


async def test_a_failing_timer_harms_nobody_and_never_overlaps_itself(
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
    """Leads whatever Redis says: two workers may think so for up to a session."""

    async def run(self) -> None:
        self.leading.set()
        await asyncio.Event().wait()

    async def leave(self, seconds: float = 0) -> None:
        self.leading.clear()


class Seen(Scheduler):
    """Tells when it waits for an instant to come: what was missed has been offered then."""

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
    *calendars: Scheduler, grace: float = 5.0, exits: list[HandlerExit] | None = None
) -> AsyncIterator[asyncio.Event]:
    """Calendars that run meanwhile. Setting the event begins their end."""
    stop = asyncio.Event()
    told = [] if exits is None else exits
    runs = [asyncio.create_task(each.run(stop, grace, told.append)) for each in calendars]
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
    """What a library raises that wants nobody to catch it."""


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
async def test_whatever_a_task_raises_it_goes_on_and_so_do_the_others(
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
        assert scheduler.in_hand() == ["task books"]
        for _ in range(100):
            await asyncio.sleep(0.001)
        may_end.set()
    assert done.count("books") == 1
    assert done.count("other") - others <= 1  # One may have been under way.


async def test_what_does_not_finish_within_the_grace_is_named(
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
    async with running(led(redis, app_name, task), grace=0.05):
        await asyncio.wait_for(begun.wait(), 10)
    assert (cut, task.failures) == (["endless"], 0)
    assert "cut off, since the grace is over: task endless" in caplog.text


async def test_all_that_was_cut_off_is_named_whoever_ran_it(redis: Redis, app_name: str) -> None:
    begun = asyncio.Semaphore(0)

    async def endless() -> None:
        begun.release()
        await asyncio.Event().wait()

    tasks = [Task(name, endless, on_leader=name == "led") for name in ("led", "everywhere")]
    scheduler = led(redis, app_name, *tasks)
    async with running(scheduler, grace=0.05):
        for _ in tasks:
            await asyncio.wait_for(begun.acquire(), 10)
    assert scheduler.cut_off == ["task led", "task everywhere"]


@pytest.mark.parametrize(
    ("due", "known", "fired", "catch_up", "times"),
    [
        (5, 60, None, 3600, 1),  # Nobody fired it.
        (5, 60, 5, 3600, 0),  # Somebody did.
        (5, 60, 65, 3600, 1),  # The one before was fired.
        (5, 3, None, 3600, 0),  # The task was deployed after it.
        (5, None, None, 3600, 0),  # It is deployed now.
        (5, 60, None, 0, 0),  # Switched off.
        (5, 60, None, 120, 0),  # Too long ago.
    ],
)
async def test_a_new_leader_makes_up_for_the_latest_instant_that_nobody_fired(
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


async def test_an_instant_fires_once_even_if_two_workers_lead(redis: Redis, app_name: str) -> None:
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


async def test_who_waits_leads_at_once_when_the_leader_leaves(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    """Not at its next look, which would be in 20 s."""
    listen = RedisBackend(Scripts(redis), redis_url).listen
    first, second = (LeaderElection(Scripts(redis), app_name, name, 60, listen) for name in "ab")
    leader = asyncio.create_task(first.run())
    await asyncio.wait_for(first.leading.wait(), 5)
    follower = asyncio.create_task(second.run())
    wake = keys.wake(keys.app_scope(app_name))
    await until(lambda: heard_by(redis, wake, 2), "both listen")
    await end([leader])
    await first.leave()
    await asyncio.wait_for(second.leading.wait(), 10)
    await end([follower])


async def heard_by(redis: Redis, channel: str, listeners: int) -> bool:
    ((_, count),) = await redis.pubsub_numsub(channel)
    return bool(count == listeners)


async def test_the_lead_passes_on_when_a_leader_leaves(redis: Redis, app_name: str) -> None:
    first = LeaderElection(Scripts(redis), app_name, "first", 0.3)
    second = LeaderElection(Scripts(redis), app_name, "second", 0.3)
    leader = asyncio.create_task(first.run())
    await asyncio.wait_for(first.leading.wait(), 5)
    follower = asyncio.create_task(second.run())
    await end([leader])
    await first.leave()
    await asyncio.wait_for(second.leading.wait(), 5)
    assert not first.leading.is_set()
    follower.cancel()
    await asyncio.wait([follower])


@pytest.mark.parametrize(
    ("spec", "timezone", "says"),
    [
        ("61 * * * *", "UTC", "61"),
        ("* *", "UTC", "five fields"),
        ("@daily", "Mars", "Mars"),
        ("0 0 30 2 *", "UTC", "day"),
    ],
)
def test_a_wrong_schedule_is_refused_when_it_is_declared(
    spec: str, timezone: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        check_cron(spec, timezone)


def test_a_schedule_that_redis_would_not_take_is_refused_when_it_is_declared(
    app_name: str,
) -> None:
    spec = f"{','.join(map(str, range(60)))} {','.join(map(str, range(24)))} * * *"
    app = App(app_name)
    app.crontab(spec)(cancelled_by_somebody)  # Which nobody else has to know.
    with pytest.raises(ConfigError, match="on_leader has at most 200 bytes"):
        app.crontab(spec, on_leader=True)
