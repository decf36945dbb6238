"""Tasks, timers and cron tasks beside processors."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from runnel import App
from runnel.errors import ConfigError
from runnel.scripts import Scripts
from runnel.tasks import Crontab, check_cron
from runnel.worker.calendar import Calendar, Leadership
from runnel.worker.worker import Worker


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


async def test_an_instant_fires_once_even_if_two_workers_lead(redis: Redis, app_name: str) -> None:
    fired: list[str] = []
    enough = asyncio.Event()

    def calendar(worker: str) -> Calendar:
        async def work() -> None:
            fired.append(worker)
            if len(fired) >= 2:
                enough.set()

        leadership = Leadership(Scripts(redis), app_name, worker, 5)
        leadership.leading.set()  # Both think so: that is what may happen for up to a session.
        task = Crontab("work", work, on_leader=True, spec="* * * * * *", zone=UTC)
        return Calendar([task], Scripts(redis), app_name, leadership)

    followers = [
        asyncio.create_task(each._follow(each._tasks[0]))  # type: ignore[arg-type]
        for each in (calendar("a"), calendar("b"))
    ]
    started = datetime.now(UTC)
    await asyncio.wait_for(enough.wait(), 10)
    seconds = int(datetime.now(UTC).timestamp()) - int(started.timestamp())
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)
    assert len(fired) <= seconds


async def test_the_lead_passes_on_when_a_leader_leaves(redis: Redis, app_name: str) -> None:
    first = Leadership(Scripts(redis), app_name, "first", 0.3)
    second = Leadership(Scripts(redis), app_name, "second", 0.3)
    leader = asyncio.create_task(first.run())
    await asyncio.wait_for(first.leading.wait(), 5)
    follower = asyncio.create_task(second.run())
    leader.cancel()
    await asyncio.wait([leader])
    await asyncio.wait_for(second.leading.wait(), 5)
    assert not first.leading.is_set()
    follower.cancel()
    await asyncio.wait([follower])


@pytest.mark.parametrize(
    ("spec", "timezone", "says"),
    [("61 * * * *", "UTC", "61"), ("* *", "UTC", "five fields"), ("@daily", "Mars", "Mars")],
)
def test_a_wrong_schedule_is_refused_when_it_is_declared(
    spec: str, timezone: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        check_cron(spec, timezone)
