"""What the policies do with events whose handler fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Events, ExceptionPolicy
from runnel.dead_letter import DeadLetter
from runnel.delivery.partition_queue import PartitionQueue
from runnel.errors import Halted
from runnel.worker.worker import Worker
from tests.servers import Server
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.ledger import Entry, app
from tests.worker.workers import Workers, processor, send, until

FAULTY = [Entry(key=1, number=n, fault="raise" if n == 2 else "") for n in range(5)]


async def test_halt_stops_the_worker_and_keeps_the_event(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    await send(redis_url, *FAULTY)
    process = workers.start("--processors", "book")
    await until(lambda: process.poll() is not None, "the worker halts")
    assert process.returncode == 1
    row = await processor(redis, redis_url, "book")
    (partition,) = [each for each in row["partitions"] if each["lag_events"]]
    assert partition["processed"] == 2
    assert partition["lag_events"] == 3
    assert partition["error"]["type"] == "ValueError"
    assert partition["attempts"] == 2
    assert workers.effects() == {1: [0, 1]}


@pytest.mark.fault(44)
async def test_ignore_dead_letters_the_event(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    await send(redis_url, *FAULTY)
    process = workers.start("--processors", "careless", "--burst")
    await until(lambda: process.poll() is not None, "the worker ends")
    assert process.returncode == 0, workers.log
    assert workers.effects() == {1: [0, 1, 3, 4]}
    sink = app.streams["entries.careless.dead"].spec
    partition = app.streams["entries"].spec.partition(FAULTY[0])
    entries: Any = await redis.xrange(f"{sink.prefix(partition)}:log")
    letter = sink.codec.decode([each for pair in entries[0][1].items() for each in pair])
    assert isinstance(letter, DeadLetter)
    assert (letter.processor, letter.error_type, letter.attempts) == ("careless", "ValueError", 2)
    original = app.streams["entries"].spec.codec.decode(letter.fields)
    assert original == FAULTY[2]


async def test_quarantine_stops_one_partition_and_resume_with_skip_ends_it(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    await send(redis_url, *FAULTY, *(Entry(key=2, number=n) for n in range(5)))
    workers.start("--processors", "careful")

    async def quarantined() -> bool:
        row = await processor(redis, redis_url, "careful")
        return "quarantined" in {each["state"] for each in row.get("partitions", [])}

    await until(quarantined, "the partition is quarantined")
    await until(lambda: workers.effects().get(2) == list(range(5)), "the other key continues")
    assert workers.effects()[1] == [0, 1]
    resumed = workers.run("processor", "resume", "tests.worker.ledger:careful", "--skip", "--yes")
    assert resumed.returncode == 0, resumed.stderr
    await until(lambda: workers.effects()[1] == [0, 1, 3, 4], "the partition continues")
    assert not await quarantined()


async def test_a_batch_that_failed_counts_as_a_failure_of_none_of_its_events_after_a_release(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    tried_alone, hold = asyncio.Event(), True

    async def work(events: Events[Item]) -> None:
        async for batch in events.take(10).records():
            if any(item.number == 1 for item in batch):
                raise ValueError("the second one is bad")
            if hold:
                tried_alone.set()
                await asyncio.Event().wait()
            ledger.seen += [item.number for item in batch]

    ledger.processor(work, exception_policy=ExceptionPolicy.IGNORE, retries=0)
    await ledger.send(0, 1, 2)
    async with ledger.running():
        async with asyncio.timeout(20):
            await tried_alone.wait()
    hold = False
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert ledger.seen == [0, 2]


@pytest.mark.fault(46)
async def test_a_corrupt_and_a_foreign_entry_are_dead_lettered_and_kill_no_worker(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    await send(redis_url, *(Entry(key=1, number=n) for n in range(3)))
    spec = app.streams["entries"].spec
    log = f"{spec.prefix(spec.partition(Entry(key=1, number=0)))}:log"
    await redis.xadd(log, {"msgpack": b"\xc1corrupt"})
    await redis.xadd(log, {"hello": "from another program"})
    await redis.xadd(log, {"msgpack": b"\x81\xa3key\xa1x"})
    await send(redis_url, Entry(key=1, number=3))
    process = workers.start("--processors", "careless", "--burst")
    await until(lambda: process.poll() is not None, "the worker ends")
    assert process.returncode == 0, workers.log
    assert workers.effects() == {1: [0, 1, 2, 3]}
    assert workers.log.count("failed (attempt 1 of 1): DecodeError") == 3


async def test_a_wait_for_room_for_a_dead_letter_is_logged_in_few_lines(
    redis: Redis,
    redis_url: str,
    app_name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = 0

    async def soon(queue: PartitionQueue, seconds: float) -> None:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)

    async def work(events: Events[Item]) -> None:
        async for _ in events:
            raise ValueError("a fault on purpose")

    monkeypatch.setattr(PartitionQueue, "pause", soon)
    ledger = Ledger(app_name, redis_url, partition_size=2)
    ledger.processor(
        work, retries=0, exception_policy="ignore", middleware=[DeadLetterMiddleware()]
    )
    async with ledger.running():
        await ledger.send(1)
        await until(lambda: caught_up(redis, ledger), "it is dead-lettered")
        await ledger.send(2)
        await until(lambda: caught_up(redis, ledger), "it is dead-lettered")
        await ledger.send(3)
        await until(lambda: tries > 100, "there is no room for the third one")
    said = [each for each in caplog.messages if "no room in items.work.dead" in each]
    assert 1 < len(said) < 20
    await ledger.app.close()


async def test_a_full_sink_is_logged_now_and_then_with_what_to_do_until_it_has_room(
    redis: Redis,
    redis_url: str,
    app_name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = Ledger(app_name, redis_url, partition_size=3)
    pauses: list[float] = []
    pause = PartitionQueue.pause

    async def shorter(queue: PartitionQueue, seconds: float) -> None:
        pauses.append(seconds)
        await pause(queue, 0.01)

    monkeypatch.setattr(PartitionQueue, "pause", shorter)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            raise ValueError(item.number)

    async def read(events: Events[DeadLetter]) -> None:
        async for _ in events:
            pass

    middleware = [DeadLetterMiddleware()]
    ledger.processor(work, retries=0, exception_policy="ignore", middleware=middleware)
    ledger.app.processor(ledger.items.dead_letters("work"), name="reader")(read)
    await ledger.send(0, 1)
    worker, reader = Worker(ledger.app, ["work"]), Worker(ledger.app, ["reader"])
    runs = [asyncio.create_task(worker.run())]
    await until(lambda: caught_up(redis, ledger), "two dead letters are written")
    await ledger.send(2)
    await until(lambda: caught_up(redis, ledger), "and a third")
    await ledger.send(3)
    await until(lambda: len(pauses) > 4, "it has been tried again")
    runs.append(asyncio.create_task(reader.run()))
    await until(lambda: "there is room" in caplog.text, "there is room")
    for each in (worker, reader):
        each.stop.set()
    await asyncio.gather(*runs)
    said = [each.message for each in caplog.records if "no room in items" in each.message]
    assert len(said) < len(pauses)
    assert "processor dead-letters " in said[0]


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


async def test_a_quarantine_that_is_not_stored_is_not_logged(
    server: Server, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, may_fail = Ledger(app_name, server.url), asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(item.number)
            await may_fail.wait()
            raise ValueError("a fault on purpose")

    ledger.processor(work, retries=0)
    await ledger.send(1)
    worker = Worker(ledger.app)
    run = asyncio.create_task(worker.run())
    await until(lambda: ledger.seen, "it works")
    server.kill()
    may_fail.set()
    await until(lambda: "failure report" in caplog.text, "the failure cannot be stored")
    worker.stop.set()
    await asyncio.wait_for(run, 60)
    assert "quarantined" not in caplog.text
