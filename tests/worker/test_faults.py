"""Faults of Redis and of handlers: nothing is lost, nothing hangs, and it is logged."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel import Events, ExceptionPolicy
from runnel.errors import Full, Halted
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


async def test_s4_a_full_partition_refuses_by_name_and_trims_nothing_unprocessed(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = Ledger(app_name, redis_url, partition_size=50)
    gate = asyncio.Event()

    async def gated(events: Events[Item]) -> None:
        async for item in events.records():
            await gate.wait()
            ledger.seen.append(item.number)

    ledger.processor(gated)
    async with ledger.running():
        await until(lambda: redis.exists(ledger.state), "the processor is registered")
        await ledger.send(*range(50))
        with pytest.raises(Full, match="because the registered processor work has not committed"):
            await ledger.send(50)
        assert await redis.xlen(ledger.log) == 50
        waiting = asyncio.create_task(ledger.send(*range(50, 120), wait=True))
        gate.set()
        await waiting
        await until(lambda: len(ledger.seen) >= 120, "all arrive")
    assert ledger.seen == list(range(120))
    assert await redis.xlen(ledger.log) <= 50


async def test_drop_oldest_counts_what_the_processor_lost(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = Ledger(app_name, redis_url, partition_size=50)
    ledger.processor()
    async with ledger.running():
        await until(lambda: redis.exists(ledger.state), "the processor is registered")
    await ledger.send(*range(50))
    await ledger.send(*range(50, 60), drop_oldest=True)
    assert await redis.hget(ledger.meta, "dropped:work") == b"10"
    async with ledger.running():
        await until(lambda: len(ledger.seen) == 50, "the rest arrives")
        row = await ledger.row(redis)
    assert ledger.seen == list(range(10, 60))
    assert row["lost"] == 10


async def test_a_handler_that_returns_early_or_fails_at_once_is_retried(
    redis: Redis, ledger: Ledger
) -> None:
    calls = 0

    async def moody(events: Events[Item]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("no database yet")
        if calls == 2:
            return
        async for item in events.records():
            if calls == 3:
                break
            ledger.seen.append(item.number)

    ledger.processor(moody, exception_policy=ExceptionPolicy.IGNORE)
    async with ledger.running():
        await ledger.send(1, 2, 3)
        await until(lambda: ledger.seen == [1, 2, 3], "it is retried")


async def test_a_halted_processor_continues_once_its_handler_is_fixed(
    redis: Redis, ledger: Ledger
) -> None:
    broken = True

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if broken and item.number == 2:
                raise ValueError("not yet")
            ledger.seen.append(item.number)

    ledger.processor(work, retries=1, exception_policy="halt")
    await ledger.send(1, 2, 3)
    for _ in range(2):
        with pytest.raises(Halted, match="failed 2 times: ValueError: not yet"):
            await Worker(ledger.app).run()
    broken = False
    async with ledger.running():
        await until(lambda: ledger.seen == [1, 2, 3], "it continues")
        await until(lambda: caught_up(redis, ledger), "all is committed")
        assert (await ledger.row(redis))["attempts"] == 0


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


async def test_batches_are_committed_whole_and_a_failed_one_is_isolated(
    redis: Redis, ledger: Ledger
) -> None:
    async def batched(events: Events[Item]) -> None:
        async for items in events.take(10, within=0.05).records():
            if any(item.number == 7 for item in items):
                raise ValueError("seven")
            ledger.seen.extend(item.number for item in items)

    ledger.processor(batched, exception_policy=ExceptionPolicy.IGNORE, retries=1)
    await ledger.send(*range(25))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert ledger.seen == [each for each in range(25) if each != 7]
