"""One try of an event beside others: what it may use and raise, and how long it may take."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from redis.asyncio import Redis

from runnel import Event
from runnel.errors import HandlerError
from runnel.handlers import callables
from runnel.worker import event_run
from tests.worker.desk import ALL, MIXED, Desk, Doing, Job, failing


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError("cancelled by nobody"),
        GeneratorExit(),
        StopAsyncIteration(),
        BaseExceptionGroup("several", [ValueError(), GeneratorExit()]),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_whatever_a_function_raises_is_a_failure_of_its_event(
    redis: Redis, desk: Desk, error: BaseException
) -> None:
    desk.declare()
    desk.faults["c", 2] = failing(1, error)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.by_key() == ALL
    await desk.check_effects(redis, ALL)


async def test_an_event_may_use_its_own_key_alone(redis: Redis, desk: Desk) -> None:
    refused: list[str] = []

    async def nosy(job: Job) -> None:
        for use in (lambda: desk.totals["other"], lambda: desk.totals.load("other")):
            try:
                result = use()
                if asyncio.iscoroutine(result):
                    await result
            except HandlerError as error:
                refused.append(str(error))
        desk.totals[job.key] += 1

    desk.declare(nosy)
    await desk.send(("a", 0))
    await desk.worked_off(redis)
    assert len(refused) == 2
    assert all("'other' is not the key of this event" in each for each in refused)
    assert await desk.counted("a") == {"a": 1}


async def test_a_function_that_takes_too_long_is_cancelled_and_retried(
    redis: Redis, desk: Desk
) -> None:
    left = [1]

    async def hang() -> None:
        if left[0]:
            left[0] -= 1
            await asyncio.Event().wait()

    desk.declare(timeout=0.2)
    desk.faults["a", 0] = hang
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.by_key() == ALL
    assert desk.by_key(desk.begun)["a"] == [0, 0, 1, 2, 3, 4]
    await desk.check_effects(redis, ALL)


async def test_one_that_swallows_its_cancellation_is_left_behind_and_has_no_effect(
    redis: Redis, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_run, "END_AFTER_TIMEOUT", 0.2)
    stubborn = asyncio.Event()

    async def work(job: Job) -> None:
        desk.totals[job.key] += 1
        if job.key == "a" and not stubborn.is_set():
            stubborn.set()
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if over.is_set():
                        raise
        desk.done.append((job.key, job.number))

    over = asyncio.Event()
    desk.declare(work, timeout=0.1)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.by_key() == ALL
    assert await desk.counted("a", "b") == {"a": 5, "b": 5}
    over.set()
    for task in asyncio.all_tasks():
        if task.get_name() == "work/0":
            task.cancel()


async def test_plain_functions_run_in_a_thread_each(redis: Redis, desk: Desk) -> None:
    barrier = threading.Barrier(8, timeout=20)

    def work(job: Job) -> None:
        if job.number == 0:
            barrier.wait()  # Only if eight run at the same time.
        desk.totals[job.key] += 1
        desk.doings.emit(Doing(key=job.key, number=job.number))
        desk.done.append((job.key, job.number))

    desk.declare(work)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.by_key() == ALL
    await desk.check_effects(redis, ALL)


async def test_a_loop_that_was_blocked_makes_no_event_late_that_is_done(
    redis: Redis, desk: Desk
) -> None:
    """When the loop runs again, the end of the wait and the time limit are due together."""

    async def work(job: Job) -> None:
        desk.begun.append((job.key, job.number))
        if job.key == "a":
            await asyncio.sleep(0.1)
        elif job.key == "b":
            await asyncio.sleep(0.01)
            time.sleep(0.6)  # noqa: ASYNC251
        desk.done.append((job.key, job.number))

    desk.declare(work, timeout=0.3)
    await desk.send(("a", 0), ("b", 0))
    await desk.worked_off(redis)
    assert desk.begun == [("a", 0), ("b", 0)]


async def test_a_function_may_take_the_event_too_and_is_not_examined_for_each(
    redis: Redis, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[str] = []

    async def work(job: Job, event: Event[Job]) -> None:
        assert event.record is job
        ids.append(event.id)

    desk.declare(work)

    def never(function: object) -> bool:
        raise AssertionError("once, when it is declared")

    monkeypatch.setattr(callables, "takes_event", never)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert len(set(ids)) == len(MIXED)
