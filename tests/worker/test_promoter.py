"""Workers promote delayed events: when they are due, and whatever happens to hints and keys."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker import promoter
from runnel.worker.worker import Worker
from tests.worker.inside import Ledger, caught_up, owned
from tests.worker.ledger import Entry
from tests.worker.ledger import app as ledger_app
from tests.worker.workers import Workers, until


async def test_events_come_when_they_are_due_and_never_before(redis: Redis, ledger: Ledger) -> None:
    came: dict[int, float] = {}

    async def work(events: Any) -> None:
        async for item in events.records():
            came[item.number] = time.time()

    ledger.processor(work)
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it holds the partition")
        due = {}
        for number, delay in ((1, 0.9), (2, 0.3), (3, 0.6), (4, 0.0)):
            (receipt,) = await ledger.items.send(*ledger.records(number), delay=delay)
            due[number] = receipt.due.timestamp()
        await ledger.send(5)
        await until(lambda: len(came) == 5, "all have come")
    assert list(came) == [4, 5, 2, 3, 1]
    assert all(came[number] >= due[number] for number in due)


async def test_an_event_that_is_due_sooner_wakes_the_worker(redis: Redis, ledger: Ledger) -> None:
    ledger.processor()
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it holds the partition")
        await ledger.send(1, delay=3600)
        await ledger.send(2, delay=0.1)
        await until(lambda: ledger.seen == [2], "it does not wait for the first", 10)


async def test_a_worker_that_starts_promotes_what_is_due(redis: Redis, ledger: Ledger) -> None:
    ledger.processor()
    await ledger.send(1, 2, delay=0)
    async with ledger.running():
        await until(lambda: ledger.seen == [1, 2], "it promotes")


async def test_without_messages_it_looks_from_time_to_time(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promoter, "LOOK_EVERY", 0.1)
    monkeypatch.setattr(promoter.Promoter, "hint", lambda self: None)
    ledger.processor()
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it holds the partition")
        await ledger.send(1, delay=0.05)
        await until(lambda: ledger.seen == [1], "it looks")


async def test_a_paused_processor_does_not_hold_delayed_events_back(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    await admin.add(Scripts(redis), ledger.app.processors["work"])
    await admin.pause(Scripts(redis), ledger.app.processors["work"])
    async with ledger.running():
        await ledger.send(1, delay=0)
        await until(lambda: redis.xlen(ledger.log), "it is promoted")
    assert ledger.seen == []


async def test_what_is_due_waits_for_room_and_is_told_once(
    redis: Redis, app_name: str, redis_url: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(promoter, "RETRY", 0.05)
    ledger, go_on = Ledger(app_name, redis_url, partition_size=3), asyncio.Event()

    async def work(events: Any) -> None:
        async for item in events.records():
            await go_on.wait()
            ledger.seen.append(item.number)

    ledger.processor(work)
    await admin.add(Scripts(redis), ledger.app.processors["work"])
    await ledger.send(1, 2)
    await ledger.send(3)
    await ledger.send(4, delay=0)
    said = "delayed events are due and wait for room, because the registered processor work"
    async with ledger.running():
        await until(lambda: said in caplog.text, "it is told")
        await asyncio.sleep(0.2)
        go_on.set()
        await until(lambda: ledger.seen == [1, 2, 3, 4], "there is room")
    assert caplog.text.count(said) == 1


async def test_events_that_have_disappeared_are_logged_and_hold_nothing_up(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.processor()
    await ledger.send(1, 2, delay=3600)
    await redis.delete(keys.delayed(ledger.items.spec.prefix(0)))
    async with ledger.running():
        await until(lambda: "2 delayed events were LOST" in caplog.text, "it is logged")
        await ledger.send(3, delay=0.05)
        await until(lambda: ledger.seen == [3], "others are promoted")


async def test_a_burst_waits_for_what_is_due_and_not_for_what_is_not(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    await ledger.send(1, delay=0)
    await ledger.send(2, delay=3600)
    await asyncio.wait_for(Worker(ledger.app).run(burst=True), 30)
    assert ledger.seen == [1]
    assert await redis.zcard(keys.delayed(ledger.items.spec.prefix(0))) == 1
    assert await caught_up(redis, ledger)


async def test_killed_workers_lose_no_delayed_event_and_add_none_twice(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    """Two workers, of which one is killed in the middle; both promote the same partitions."""
    numbers, count = range(60), 10
    workers.start("--processors", "book", "--name", "a")
    second = workers.start("--processors", "book", "--name", "b")
    ledger_app.configure(redis_url=redis_url)
    stream = ledger_app.streams["entries"]
    try:
        for number in numbers:
            records = [Entry(key=key, number=number) for key in range(count)]
            await stream.send(*records, delay=0.2 + number / 30)
    finally:
        await ledger_app.close()
    await until(lambda: sum(map(len, workers.effects().values())) > 100, "events come")
    second.kill()

    def all_came() -> bool:
        effects = workers.effects()
        return all(set(effects[key]) == set(numbers) for key in range(count))

    await until(all_came, "all have come", 60)
    logs = [keys.log(stream.spec.prefix(p)) for p in range(stream.spec.partition_count)]
    assert sum([int(await redis.xlen(log)) for log in logs]) == len(numbers) * count
    for key, seen in workers.effects().items():
        assert list(dict.fromkeys(seen)) == list(numbers), f"key {key}: {seen}"
