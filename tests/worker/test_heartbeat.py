"""Heartbeats while user code blocks the event loop or the process is suspended, and those of a
second worker of the same name."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from runnel import (
    Events,
)
from runnel.errors import Replaced
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up, owned
from tests.worker.workers import until


async def test_a_worker_that_did_not_run_logs_it_when_it_continues(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(app_name, redis_url, session_timeout=0.5, max_block=0.5)
    woke = asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 1 and not ledger.seen:
                time.sleep(2.5)  # noqa: ASYNC251 - it blocks the event loop
                woke.set()
            ledger.seen.append(item.number)

    ledger.processor(work)
    await ledger.send(1, 2)
    async with ledger.running():
        await woke.wait()
        await until(lambda: caught_up(redis, ledger), "a worker that lost no partition continues")
    # A busy machine may keep it from running at other times, too.
    said = [each.message for each in caplog.records if "did not run" in each.message]
    event = "its current events: partition 0, event"
    assert [each for each in said if "its session has ended" in each and event in each], said


@pytest.mark.fault(6)
async def test_l5_a_blocked_event_loop_keeps_its_partition_within_max_block(
    redis: Redis, ledger: Ledger
) -> None:
    async def blocks(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 1:
                time.sleep(2.5)  # noqa: ASYNC251 - the fault under test, longer than two sessions
            ledger.seen.append(item.number)

    ledger.processor(blocks)
    async with ledger.running():
        await until(lambda: redis.exists(ledger.state), "the processor is registered")
        await until(lambda: owned(redis, ledger), "the partition is claimed")
        epoch = (await ledger.row(redis))["epoch"]
        await ledger.send(1, 2)
        await until(lambda: caught_up(redis, ledger), "both are done")
        row = await ledger.row(redis)
    assert ledger.seen == [1, 2]
    assert row["epoch"] == epoch, "no other member claimed the partition"


@pytest.mark.fault(49)
async def test_a_second_worker_under_the_same_name_replaces_the_first(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    first = asyncio.create_task(Worker(ledger.app, name="same").run())
    await until(lambda: owned(redis, ledger), "the first holds it")
    second = Worker(ledger.app, name="same")
    run = asyncio.create_task(second.run())
    try:
        with pytest.raises(Replaced, match="another worker has started under the name 'same'"):
            await asyncio.wait_for(first, 20)
        await ledger.send(1)
        await until(lambda: ledger.seen == [1], "the second works")
    finally:
        second.stop.set()
        await run
