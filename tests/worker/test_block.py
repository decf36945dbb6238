"""A worker in the program of a user: it ends with its block, or when it is cancelled."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, ConfigError, Events, HandlerExit, ServerUnreachable, Worker
from tests.worker.inside import Item, Ledger, caught_up, owned
from tests.worker.workers import until


async def test_a_block_runs_a_worker_and_touches_nothing_of_the_process(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()

    def of_the_process() -> Any:
        handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
        return handlers, list(logging.getLogger().handlers), logging.getLogger().level

    before = of_the_process()
    async with Worker(ledger.app) as worker:
        assert worker.started.is_set()
        await ledger.send(1)
        await until(lambda: ledger.seen, "it works")
        assert of_the_process() == before
    assert await caught_up(redis, ledger)
    assert not await owned(redis, ledger)


async def test_a_block_waits_for_a_burst(redis: Redis, ledger: Ledger) -> None:
    ledger.processor()
    await ledger.send(1, 2)
    async with ledger.app.worker(["work"], burst=True) as worker:
        await worker.wait()
    assert ledger.seen == [1, 2]


async def leave(events: Events[Item]) -> None:
    async for _ in events:
        raise SystemExit(3)


async def waits_for_its_error(ledger: Ledger, log: pytest.LogCaptureFixture) -> None:
    async with ledger.app.worker() as worker:
        with pytest.raises(HandlerExit):
            await worker.wait()
        assert f"worker {worker.member} has ended:" in log.text


async def test_the_error_of_a_worker_is_seen_at_once_and_raised_at_the_end(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.processor(leave)
    await ledger.send(1)
    with pytest.raises(HandlerExit):
        await waits_for_its_error(ledger, caplog)


async def raises_another(ledger: Ledger) -> None:
    async with ledger.app.worker() as worker:
        with pytest.raises(HandlerExit):
            await worker.wait()
        raise KeyError


async def test_the_error_of_a_block_goes_before_that_of_its_worker(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor(leave)
    await ledger.send(1)
    with pytest.raises(KeyError):
        await raises_another(ledger)


async def test_a_worker_that_does_not_start_raises_where_the_block_begins(ledger: Ledger) -> None:
    ledger.processor()
    ledger.app.configure(redis_url="redis://127.0.0.1:1")
    with pytest.raises(ServerUnreachable):
        await ledger.app.worker().__aenter__()


async def cancel_during_an_event(ledger: Ledger, go_on: asyncio.Event) -> asyncio.Task[None]:
    """A worker that is cancelled while it has an event."""
    began = asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            began.set()
            await go_on.wait()
            ledger.seen.append(item.number)

    ledger.processor(work)
    await ledger.send(1)
    run = asyncio.create_task(ledger.app.run())
    await began.wait()
    run.cancel()
    await until(lambda: ledger.app.stopping.is_set(), "it is told to end")
    return run


async def test_a_cancelled_worker_finishes_its_event_and_releases(
    redis: Redis, ledger: Ledger
) -> None:
    go_on = asyncio.Event()
    run = await cancel_during_an_event(ledger, go_on)
    assert not run.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert ledger.seen == [1]
    assert await caught_up(redis, ledger)
    assert not await owned(redis, ledger)


async def test_a_worker_that_is_cancelled_twice_ends_at_once(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = Ledger(app_name, redis_url, shutdown_timeout=300.0)
    run = await cancel_during_an_event(ledger, asyncio.Event())
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(run, 30)
    assert ledger.seen == []


async def test_two_workers_in_one_loop_end_one_by_one(redis: Redis, ledger: Ledger) -> None:
    ended = 0
    ledger.processor()

    @ledger.app.task()
    async def endless() -> None:
        nonlocal ended
        while not ledger.app.stopping.is_set():  # noqa: ASYNC110 - asked again and again
            await asyncio.sleep(0.01)
        ended += 1

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(ledger.app.worker())
        async with ledger.app.worker() as second:
            await ledger.send(1)
            await until(lambda: ledger.seen, "one of them works")
            await stack.aclose()
            assert ended == 1, "that of the worker that has ended"
            assert first.member != second.member
            await ledger.send(2)
            await until(lambda: ledger.seen == [1, 2], "the other goes on")
    assert ended == 2


async def test_a_worker_runs_in_the_loop_of_another_thread(redis: Redis, ledger: Ledger) -> None:
    ledger.processor()
    worker = ledger.app.worker()
    thread = threading.Thread(target=lambda: asyncio.run(worker.run()))
    thread.start()
    await ledger.send(1)
    await until(lambda: ledger.seen, "it works")
    worker.end()
    await asyncio.to_thread(thread.join, 30)
    assert not thread.is_alive()
    assert await caught_up(redis, ledger)
    assert not await owned(redis, ledger)
    with pytest.raises(ConfigError, match="has run: make a new Worker for each run"):
        await worker.run()


async def test_wait_is_for_a_block() -> None:
    with pytest.raises(ConfigError, match="async with Worker"):
        await Worker(App("shop")).wait()
