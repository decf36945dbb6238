"""A worker with --burst ends once all events that existed at its start are committed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.servers import Server
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


async def test_a_burst_survives_a_restart_of_its_server(
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
    failed = "burst: status check failed, Redis does not answer"
    await until(lambda: failed in caplog.text, "it notices the outage")
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


@pytest.mark.parametrize("gone", ["the newest", "all", "the newest, while it runs"])
async def test_a_burst_ends_where_the_newest_entry_was_deleted(
    redis: Redis, ledger: Ledger, gone: str
) -> None:
    async def work(events: Events[Any]) -> None:
        async for event in events:
            if gone.endswith("runs") and not ledger.seen:
                newest: Any = await redis.xrevrange(ledger.log, count=1)
                await redis.xdel(ledger.log, newest[0][0])
            ledger.seen.append(event.record.number)

    ledger.processor(work, prefetch=1)
    await admin.add(Scripts(redis), ledger.app.processors["work"])
    await ledger.send(*range(5))
    if gone == "the newest":
        newest: Any = await redis.xrevrange(ledger.log, count=1)
        await redis.xdel(ledger.log, newest[0][0])
    elif gone == "all":
        await redis.xtrim(ledger.log, 0)
    await asyncio.wait_for(Worker(ledger.app).run(burst=True), 30)
    assert ledger.seen == ([] if gone == "all" else [0, 1, 2, 3])
    lost = await redis.hget(ledger.state, "lost")
    assert lost == (b"5" if gone == "all" else b"1"), "and what was lost has been counted"
    assert not await caught_up(redis, ledger) or gone == "all"
