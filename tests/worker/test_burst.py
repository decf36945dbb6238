"""Bursts go on until what was there is done, whatever happens meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel import Events
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.servers import Server
from tests.worker.inside import Item, Ledger
from tests.worker.workers import until


async def test_a_burst_outlives_a_restart_of_its_server(
    server: Server, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, go_on = Ledger(app_name, server.url), asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(item.number)
            await go_on.wait()

    ledger.processor(work)
    await ledger.send(*range(5))
    run = asyncio.create_task(Worker(ledger.app).run(burst=True))
    await until(lambda: ledger.seen, "it works")
    server.kill()
    await until(lambda: "burst: Redis does not answer" in caplog.text, "it has asked in vain")
    server.start()
    go_on.set()
    await asyncio.wait_for(run, 30)
    assert list(dict.fromkeys(ledger.seen)) == [0, 1, 2, 3, 4]


async def test_a_burst_does_not_wait_for_a_processor_that_was_removed(
    redis: Redis, ledger: Ledger
) -> None:
    removed = asyncio.Event()

    @ledger.app.processor(ledger.items)
    async def other(events: Events[Item]) -> None:
        async for _ in events:
            pass

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            await removed.wait()
            ledger.seen.append(item.number)

    ledger.processor(work)
    await ledger.send(*range(3))
    run = asyncio.create_task(Worker(ledger.app).run(burst=True))
    await until(lambda: redis.hget(ledger.state, "owner"), "it runs")
    await admin.remove(Scripts(redis), ledger.app.processors["other"])
    removed.set()
    await asyncio.wait_for(run, 30)
    assert ledger.seen == [0, 1, 2]
