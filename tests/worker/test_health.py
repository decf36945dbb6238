"""Is a worker alive, and is it ready?"""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from redis.asyncio import Redis

from runnel import App, Record, Worker
from runnel.worker.health import Health, judge
from tests.worker.workers import until


class Waits:
    """A part that does not work."""

    def problem(self) -> str | None:
        return "processor bill: it has not joined its group yet"


class Works:
    """A part that works."""

    def problem(self) -> str | None:
        return None


STARTS = "the worker starts: its startup functions have not returned"


@pytest.mark.parametrize(
    ("blocked", "started", "stopping", "expected"),
    [
        (0.0, True, False, Health(True, True)),
        (0.0, False, False, Health(True, False, (STARTS,))),
        (0.0, True, True, Health(True, False, ("the worker ends",))),
        (0.0, False, True, Health(True, False, ("the worker ends",))),
        (
            60.0,
            True,
            False,
            Health(
                True, True, ("the event loop has been blocked for 60 s: max_block is 60 s",), 60.0
            ),
        ),
        (
            61.0,
            True,
            False,
            Health(
                *(False, False),
                ("the event loop has been blocked for 61 s: longer than max_block",),
                61.0,
            ),
        ),
    ],
)
def test_what_probes_are_told(
    blocked: float, started: bool, stopping: bool, expected: Health
) -> None:
    assert judge(blocked, 60.0, started, stopping, [Works()]) == expected


def test_each_part_that_does_not_work_is_a_problem_of_a_worker_that_should() -> None:
    found = judge(0.0, 60.0, True, False, [Works(), Waits()])
    assert found == Health(True, False, (Waits().problem() or "",))
    assert judge(0.0, 60.0, False, False, [Waits()]).problems == (STARTS,)


class Order(Record):
    id: int


class Blocked:
    """A handler that blocks the event loop until it may go on."""

    def __init__(self, url: str, app_name: str) -> None:
        self.in_hand, self.go = threading.Event(), threading.Event()
        self.app = App(app_name, redis_url=url, max_block=0.6, session_timeout=1)
        self.orders = self.app.stream("orders", record=Order, partition_by="id")

        @self.app.on(self.orders)
        async def bill(order: Order) -> None:
            self.in_hand.set()
            self.go.wait(20)


async def test_a_worker_is_ready_while_it_is_a_member_and_until_it_ends(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    blocked = Blocked(redis_url, app_name)
    worker = Worker(blocked.app)
    assert worker.health() == Health(True, False, (STARTS,))
    async with worker:
        await until(lambda: worker.health().ready, "it is ready")
        assert worker.health() == Health(True, True)
        worker.end()
        await until(lambda: not worker.health().ready, "it is not ready")
        assert worker.health() == Health(True, False, ("the worker ends",))
    await blocked.app.close()


async def test_a_loop_that_is_blocked_for_too_long_is_not_alive(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    blocked = Blocked(redis_url, app_name)
    worker, seen = Worker(blocked.app), []

    def look() -> None:
        blocked.in_hand.wait(20)
        deadline = time.monotonic() + 20
        while worker.health().alive and time.monotonic() < deadline:
            time.sleep(0.05)
        seen.append(worker.health())
        blocked.go.set()

    async with worker:
        watcher = threading.Thread(target=look)
        watcher.start()
        await blocked.orders.send(Order(id=1))
        await asyncio.to_thread(watcher.join)
        (found,) = seen
        assert (found.alive, found.ready) == (False, False)
        assert any("longer than max_block" in each for each in found.problems)
        await until(lambda: worker.health() == Health(True, True), "it is well again")
    await blocked.app.close()
    assert worker.health().alive, "its loop is not watched any more"


async def test_without_answers_of_redis_it_is_not_ready_and_says_so(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url, session_timeout=0.5)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=1)

    @app.on(orders)
    async def bill(order: Order) -> None: ...

    @app.crontab("0 0 1 1 *", on_leader=True)
    async def yearly() -> None: ...

    async with Worker(app) as worker:
        await until(lambda: worker.health().ready, "it is ready")
        await redis.client_pause(3000)
        await until(lambda: len(worker.health().problems) == 2, "it is not ready")
        first, second = worker.health().problems
        assert first.startswith("processor bill: its session ended")
        assert second.startswith("tasks: no call of the leader election had a reply")
        await redis.client_unpause()
        await until(lambda: worker.health().ready, "it is ready again")
    await app.close()
