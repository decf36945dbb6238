"""Workers that shut down while Redis is away, or while a handler does not end."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel import Events
from runnel.connection.connect import connect
from runnel.worker.worker import Worker
from tests.servers import Server
from tests.worker.inside import Item, Ledger
from tests.worker.workers import until


async def test_a_handler_that_waits_for_the_session_does_not_delay_the_shutdown(
    server: Server, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, runs = Ledger(app_name, server.url, shutdown_timeout=300.0), []

    async def work(events: Events[Item]) -> None:
        runs.append(1)
        async for _ in events:
            raise ValueError("a fault on purpose")

    ledger.processor(work, retries=100, backoff=2.0, backoff_max=2.0)
    await ledger.send(1)
    worker = Worker(ledger.app)
    run = asyncio.create_task(worker.run())
    async with connect(server.url) as client:
        await until(lambda: client.hget(ledger.state, "error_type"), "it has failed")
    server.kill()
    await until(lambda: len(runs) > 1, "it is tried again, after the session")
    worker.stop.set()
    await asyncio.wait_for(run, 60)
    assert "nothing was unfinished" in caplog.text
    assert "cut off" not in caplog.text


async def test_a_handler_that_never_ends_is_cut_off_after_shutdown_timeout(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = Ledger(app_name, redis_url, shutdown_timeout=0.2)
    begun = asyncio.Event()

    async def endless(events: Events[Item]) -> None:
        async for _ in events.records():
            begun.set()
            await asyncio.Event().wait()

    ledger.processor(endless)
    async with ledger.running():
        await ledger.send(1)
        await asyncio.wait_for(begun.wait(), 10)
    assert (await ledger.row(redis))["lag_events"] == 1
