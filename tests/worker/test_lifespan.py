"""When a worker calls startup and shutdown functions, and what it does if they fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events, Halted, LifespanFailed
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up, owned
from tests.worker.workers import until


async def members(redis: Redis, ledger: Ledger) -> list[Any]:
    report = await inspect(redis, await check_server(redis, ledger.url), ledger.app.name)
    found: list[Any] = report["members"]
    return found


async def test_it_begins_before_everything_and_ends_after_everything(
    redis: Redis, ledger: Ledger
) -> None:
    calls: list[str] = []
    app = ledger.app

    @app.on_startup
    async def start() -> None:
        calls.append("start")
        assert not await members(redis, ledger), "a start that takes long costs no membership"
        app.state.greeting = "hello"

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            calls.append(f"{app.state.greeting} {item.number}")  # noqa: PERF401

    ledger.processor(work)

    @app.task()
    async def endless() -> None:
        calls.append("task")
        await app.stopping.wait()
        calls.append("task ended")

    @app.on_shutdown
    async def stop() -> None:
        calls.append("stop")
        assert await caught_up(redis, ledger)
        assert not await members(redis, ledger)

    await ledger.send(1, 2)
    async with app.worker():
        await until(lambda: "hello 2" in calls, "it works")
    assert calls[0] == "start"
    assert set(calls[1:-2]) == {"task", "hello 1", "hello 2"}
    assert calls[-2:] == ["task ended", "stop"]


async def test_after_a_failed_start_nothing_was_claimed(redis: Redis, ledger: Ledger) -> None:
    ledger.processor()
    app, calls = ledger.app, list[str]()

    @app.on_startup
    def start() -> None:
        raise ConnectionRefusedError("no database")

    @app.on_shutdown
    def stop() -> None:
        calls.append("stop")

    await ledger.send(1)
    with pytest.raises(LifespanFailed, match="start failed: ConnectionRefusedError: no database"):
        await app.run()
    assert (ledger.seen, calls) == ([], ["stop"])
    assert not await redis.hget(ledger.state, "epoch"), "it was never claimed"


async def test_a_start_that_never_returns_ends_with_the_worker(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    began, cancelled = asyncio.Event(), asyncio.Event()

    @ledger.app.on_startup
    async def start() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    worker = Worker(ledger.app)
    run = asyncio.create_task(worker.run())
    await began.wait()
    assert worker.unfinished() == ["startup function start"]
    worker.stop.set()
    await run
    assert cancelled.is_set()
    assert not await redis.hget(ledger.state, "epoch")


async def test_halt_shuts_down_too(redis: Redis, ledger: Ledger) -> None:
    async def work(events: Events[Item]) -> None:
        async for _ in events:
            raise ValueError("on purpose")

    ledger.processor(work, exception_policy="halt", retries=0)
    called = asyncio.Event()

    @ledger.app.on_shutdown
    async def stop() -> None:
        assert not await owned(redis, ledger)
        called.set()

    await ledger.send(1)
    with pytest.raises(Halted):
        await ledger.app.run()
    assert called.is_set()


async def test_a_failed_shutdown_keeps_no_commit_and_no_release(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()

    @ledger.app.on_shutdown
    async def stop() -> None:
        raise ValueError("on purpose")

    await ledger.send(1)
    with pytest.raises(LifespanFailed, match="shutdown function stop failed: ValueError"):
        await ledger.app.run(burst=True)
    assert ledger.seen == [1]
    assert await caught_up(redis, ledger)
    assert not await owned(redis, ledger)


async def test_shutdown_functions_run_though_the_events_took_all_the_time(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(app_name, redis_url, shutdown_timeout=0.05)
    began, called = asyncio.Event(), asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for _ in events:
            began.set()
            await asyncio.Event().wait()

    ledger.processor(work)

    @ledger.app.on_shutdown
    async def stop() -> None:
        called.set()

    await ledger.send(1)
    async with ledger.app.worker():
        await began.wait()
    assert called.is_set()
    assert "cut off, because shutdown_timeout" in caplog.text


async def test_a_lifespan_that_breaks_ends_the_worker_which_finishes_first(
    redis: Redis, ledger: Ledger
) -> None:
    began, fail, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            began.set()
            await go_on.wait()
            ledger.seen.append(item.number)

    ledger.processor(work)

    async def background() -> None:
        await fail.wait()
        raise ValueError("lost the database")

    @ledger.app.lifespan
    async def around() -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(background())
            yield
        raise AssertionError("it did not fail")

    await ledger.send(1)
    worker = Worker(ledger.app)
    run = asyncio.create_task(worker.run())
    await began.wait()
    fail.set()
    await worker.stop.wait()
    go_on.set()
    with pytest.raises(LifespanFailed, match="ValueError: lost the database"):
        await run
    assert ledger.seen == [1]
    assert await caught_up(redis, ledger)
