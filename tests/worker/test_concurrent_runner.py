"""Several events of one partition at the same time: order, and the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import ConfigError, Events, Middleware
from runnel.core.partition import PartitionState
from runnel.operations import admin
from runnel.worker.worker import Worker
from tests.worker.desk import ALL, KEYS, MIXED, Desk, Job, failing
from tests.worker.workers import until


async def test_keys_run_at_the_same_time_and_each_stays_in_order(redis: Redis, desk: Desk) -> None:
    desk.declare()
    desk.hold(*KEYS)
    await desk.send(*MIXED)
    async with desk.working():
        await until(lambda: desk.most == 8, "one of each key runs")
        assert sorted(desk.begun) == [(key, 0) for key in KEYS]
        desk.let_go()
        await until(lambda: desk.passed(redis), "all is committed")
    assert desk.by_key(desk.begun) == desk.by_key() == ALL
    await desk.check_effects(redis, ALL)


async def test_no_more_run_than_were_asked_for(redis: Redis, desk: Desk) -> None:
    desk.declare(concurrency=3)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.most == 3
    await desk.check_effects(redis, ALL)


async def test_the_checkpoint_stays_before_an_event_that_is_not_done(
    redis: Redis, desk: Desk
) -> None:
    desk.declare(prefetch=10)
    desk.hold("a")
    await desk.send(("b", 0), *MIXED, *((key, 5) for key in "bcdefgh" * 10))
    async with desk.working():
        await until(lambda: len(desk.done) >= 25, "other keys go on")
        assert await desk.checkpoint(redis) == 1
        assert desk.by_key(desk.begun)["a"] == [0]
        assert await desk.counted("b", "c") == {"b": 1, "c": 0}, "no effect beyond the checkpoint"
        desk.let_go()
        await until(lambda: desk.passed(redis), "all is committed")
    assert await desk.counted("a", "b", "c") == {"a": 5, "b": 16, "c": 15}


async def test_what_is_beyond_the_checkpoint_is_bounded(redis: Redis, desk: Desk) -> None:
    desk.declare(concurrency=2, prefetch=10)
    desk.hold("a")
    others = [(f"other-{number}", number) for number in range(50)]
    await desk.send(("a", 0), *others)
    async with desk.working():
        await until(lambda: len(desk.done) == 9, "ten are in hand")
        await asyncio.sleep(0.1)
        assert len(desk.begun) == 10
        desk.let_go()
        await until(lambda: desk.passed(redis), "all is committed")
    assert len(desk.done) == 51


async def test_a_worker_that_stops_processes_what_lies_between_and_nothing_is_repeated(
    redis: Redis, desk: Desk
) -> None:
    """Of a, one runs and the others wait, while events behind them are done."""
    desk.declare(concurrency=4, prefetch=20)
    desk.hold("a")
    await desk.send(*(("a", number) for number in range(3)), ("b", 0), ("c", 0), ("d", 0))
    await desk.send(*(("late", number) for number in range(100)))
    async with desk.working():
        await until(lambda: ("d", 0) in desk.done, "what is behind is done")
        await until(lambda: len(desk.done) >= 5, "and more")
    first = list(desk.done)
    assert ("a", 2) in first
    assert await desk.checkpoint(redis) == len(first)
    await desk.worked_off(redis)
    assert len(desk.done) == 106, "nothing is repeated"
    assert await desk.counted("a", "late") == {"a": 3, "late": 100}


async def test_a_worker_that_stops_does_not_wait_for_a_retry(redis: Redis, desk: Desk) -> None:
    desk.declare(backoff=20.0, retries=3)
    desk.faults["a", 1] = failing(1)
    await desk.send(*MIXED)
    async with desk.working():
        await until(lambda: len(desk.done) == len(MIXED) - 4, "only a waits")
    assert await desk.checkpoint(redis) == MIXED.index(("a", 1))
    await desk.worked_off(redis)
    assert {key: sorted(set(numbers)) for key, numbers in desk.by_key().items()} == ALL
    await desk.check_effects(redis, ALL)


async def test_what_does_not_end_when_the_worker_must_is_cut_off_and_processed_again(
    redis: Redis, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.app.configure(shutdown_timeout=0.5)
    desk.declare()
    desk.hold("c")
    await desk.send(*MIXED)
    worker = Worker(desk.app)
    run = asyncio.create_task(worker.run())
    await until(lambda: len(desk.done) >= len(MIXED) - 5, "only c is left")
    worker.stop.set()
    await run
    assert "to be processed again: processor work, partition 0, event" in caplog.text
    assert "and 37 more" in caplog.text
    assert await desk.checkpoint(redis) == 2, "what was finished without a gap is committed"
    assert await desk.counted("a", "b", "c", "d") == {"a": 1, "b": 1, "c": 0, "d": 0}
    desk.let_go()
    await desk.worked_off(redis)
    await desk.check_effects(redis, ALL)


def test_what_cannot_be_done_at_the_same_time_is_refused(desk: Desk) -> None:
    async def events(events: Events[Job]) -> None: ...

    async def letters(letter: Any) -> None: ...

    with pytest.raises(ConfigError, match=r"@app\.on: a function of events"):
        desk.app.processor(desk.jobs, concurrency=2)(events)
    with pytest.raises(ConfigError, match='commit="each" and concurrency=2 exclude'):
        desk.declare(concurrency=2, commit="each")
    with pytest.raises(ConfigError, match="only DeadLetterMiddleware may be used, not Middleware"):
        desk.declare(concurrency=2, middleware=[Middleware()])
    with pytest.raises(ConfigError, match="concurrency must be a whole number from 1 to 1000"):
        desk.declare(concurrency=0)
    with pytest.raises(ConfigError, match=r"which is derived from jobs, have none"):
        desk.app.on(desk.jobs.dead_letters("work"), concurrency=2)(letters)


async def test_a_partition_that_is_paused_processes_what_lies_between(
    redis: Redis, desk: Desk, states: list[PartitionState]
) -> None:
    async def until_stopped() -> None:
        await until(lambda: states[0].stopped, "the partition is stopped")

    desk.declare(concurrency=2)
    desk.hold("a")
    desk.faults["c", 5] = until_stopped
    await desk.send(("a", 0), ("a", 1), ("b", 0), *(("c", number) for number in range(20)))
    async with desk.working():
        await until(lambda: ("c", 5) in desk.begun, "others are done")
        async with desk.app_scripts() as scripts:
            await admin.pause(scripts, desk.processor)
            desk.let_go()
            await until(lambda: ("a", 1) in desk.done, "what lies between is processed")
            await until(lambda: ("c", 5) in desk.done, "so is what runs")
            await until(lambda: states[0].handler_ended, "nothing more is")
            assert ("c", 6) not in desk.begun
            await admin.resume(scripts, desk.processor)
        await until(lambda: desk.passed(redis), "all is committed")
    assert len(desk.done) == 23, "nothing was repeated"
