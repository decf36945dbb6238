"""Claims find what a log has lost, count it once, and restore lost keys. A key of the wrong type
stops its own partition only."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel import (
    App,
    Events,
    ExceptionPolicy,
)
from runnel.protocol.scripts import sha
from runnel.worker import feeds, log_reader
from runnel.worker.worker import Worker
from tests.primaries import on_each
from tests.proxy import Proxy
from tests.worker.inside import Item, Ledger, caught_up, lost, owned
from tests.worker.workers import first_times, until


@pytest.mark.fault(35)
async def test_s7_what_others_trimmed_is_counted_once(redis: Redis, ledger: Ledger) -> None:
    ledger.processor()
    async with ledger.running():
        await ledger.send(*range(10))
        await until(lambda: caught_up(redis, ledger), "it runs")
    await ledger.send(*range(10, 30))
    await redis.xtrim(ledger.log, maxlen=5, approximate=False)
    async with ledger.running():
        await until(lambda: 29 in ledger.seen, "it continues")
        await until(lambda: caught_up(redis, ledger), "all is committed")
        row = await ledger.row(redis)
    assert ledger.seen == [*range(10), *range(25, 30)]
    assert (row["lost"], row["processed"], row["lag_events"]) == (15, 15, 0)


async def test_s7_what_was_read_ahead_before_a_trim_is_processed_and_not_counted_as_lost(
    redis: Redis, ledger: Ledger
) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def gated(events: Events[Item]) -> None:
        async for item in events.records():
            begun.set()
            await gate.wait()
            ledger.seen.append(item.number)

    ledger.processor(gated, prefetch=10)
    await ledger.send(*range(30))
    async with ledger.running():
        await begun.wait()
        await redis.xtrim(ledger.log, maxlen=5, approximate=False)
        gate.set()
        await until(lambda: 29 in ledger.seen, "it continues")
        await until(lambda: caught_up(redis, ledger), "all is committed")
        row = await ledger.row(redis)
    ahead = ledger.seen[:-5]
    assert ledger.seen == [*range(len(ahead)), *range(25, 30)]
    assert 10 <= len(ahead) < 25
    assert (row["lost"], row["processed"], row["lag_events"]) == (
        25 - len(ahead),
        len(ahead) + 5,
        0,
    )


@pytest.mark.only_on("server")  # The proxy is in front of one server.
@pytest.mark.fault(18, 34)
async def test_s7_a_claim_whose_reply_was_lost_is_repeated_until_the_loss_is_counted(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Idle reads do not verify the cursor, so the loss is found when the next event is handed out.
    monkeypatch.setattr(feeds, "BLOCK_MS", 100)
    monkeypatch.setattr(log_reader, "VERIFY_AFTER", 1_000_000)
    begun, gate = asyncio.Event(), asyncio.Event()

    async def reads() -> int:
        return int((await redis.info("commandstats"))["cmdstat_xread"]["calls"])

    async with Proxy(redis_url) as proxy:
        # The session is so long that no heartbeat claims again during the test.
        ledger = Ledger(app_name, proxy.url, session_timeout=6.0)

        async def gated(events: Events[Item]) -> None:
            async for item in events.records():
                if item.number:
                    begun.set()
                    await gate.wait()
                ledger.seen.append(item.number)

        ledger.processor(gated)
        async with ledger.running():
            await ledger.send(0)
            await until(lambda: caught_up(redis, ledger), "it runs")
            enough = await reads() + 2

            async def rests() -> bool:
                return await reads() >= enough

            await until(rests, "its read waits for events")
            await redis.delete(ledger.log)
            await ledger.send(1)
            await begun.wait()
            proxy.lose_reply_to(sha("claim").encode())
            gate.set()
            await until(lambda: caught_up(redis, ledger), "it continues")
        assert proxy.lost == 1
    assert set(ledger.seen) == {0, 1}


@pytest.mark.fault(36)
async def test_s7_entries_deleted_one_by_one_are_counted_at_the_end_of_the_log(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    async with ledger.running():
        await ledger.send(0)
        await until(lambda: caught_up(redis, ledger), "it runs")
    places = await ledger.items.send(*(Item(number=number) for number in range(1, 10)))
    await redis.xdel(ledger.log, places[3].id, places[4].id)
    async with ledger.running():
        await until(lambda: 9 in ledger.seen, "it continues")
        await until(lambda: lost(redis, ledger), "the loss is found")
        await ledger.send(10, 11)
        await until(lambda: 11 in ledger.seen, "it continues")
        await until(lambda: caught_up(redis, ledger), "all is committed")
        row = await ledger.row(redis)
    assert ledger.seen == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert (row["lost"], row["processed"], row["lag_events"]) == (2, 10, 0)


@pytest.mark.fault(36)
async def test_a_loss_found_while_an_event_is_skipped_does_not_stop_the_partition(
    redis: Redis, ledger: Ledger
) -> None:
    begun = asyncio.Event()

    async def fails(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 0:
                begun.set()
                # A read has found that the entry at its cursor is gone.
                await until(lambda: events._queue.state.loss_suspected, "the loss is found")
                raise ValueError("on purpose")
            ledger.seen.append(item.number)

    ledger.processor(fails, exception_policy=ExceptionPolicy.IGNORE, retries=0)
    (sent,) = await ledger.items.send(Item(number=0))
    async with ledger.running():
        await begun.wait()
        await redis.xdel(ledger.log, sent.id)
        await ledger.send(1)
        await until(lambda: ledger.seen, "it continues")
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert ledger.seen == [1]


@pytest.mark.fault(32)
@pytest.mark.parametrize("what", ["group", "log", "everything", "scripts"])
async def test_a_worker_recovers_when_keys_vanish_under_it(
    redis: Redis, ledger: Ledger, what: str
) -> None:
    ledger.processor()
    async with ledger.running():
        await ledger.send(1, 2, 3)
        await until(lambda: caught_up(redis, ledger), "it runs")
        if what == "group":
            await redis.xgroup_destroy(ledger.log, "work")
        elif what == "log":
            await redis.delete(ledger.log)
        elif what == "scripts":
            await on_each(redis, "SCRIPT FLUSH")
        else:
            await on_each(redis, "FLUSHALL")
        await ledger.send(4, 5)
        await until(lambda: ledger.seen[-2:] == [4, 5], "it continues")
        await until(lambda: caught_up(redis, ledger), "all is committed")
    # What was finished and could not be committed is repeated; nothing is missing or out of order.
    assert first_times(ledger.seen) == [1, 2, 3, 4, 5]


async def test_lost_keys_of_many_partitions_are_logged_in_few_lines(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(app_name, redis_url=redis_url, session_timeout=1.0, rebalance_delay=0.05)
    items = app.stream("items", record=Item, partition_by="number", partition_count=4)
    seen: list[int] = []

    @app.on(items)
    async def work(item: Item) -> None:
        seen.append(item.number)

    worker = Worker(app)
    run = asyncio.create_task(worker.run())
    await items.send(*(Item(number=each) for each in range(20)))
    await until(lambda: len(seen) == 20, "it runs")
    await on_each(redis, "FLUSHALL")
    await until(lambda: "restored" in caplog.text, "it finds out")
    await items.send(Item(number=20))
    await until(lambda: 20 in seen, "it continues")
    worker.stop.set()
    await run
    await app.close()
    said = [each for each in caplog.records if "restored" in each.message]
    assert sorted(p for each in said for p in vars(each)["partitions"]) == [0, 1, 2, 3]
    assert len(said) < 4


@pytest.mark.parametrize("what", ["group", "log", "state"])
async def test_a_worker_that_finds_keys_lost_at_its_start_logs_it(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    ledger.processor()
    async with ledger.running():
        await ledger.send(1, 2, 3)
        await until(lambda: caught_up(redis, ledger), "it runs")
    assert "lost" not in caplog.text
    await ledger.send(4)
    if what == "group":
        await redis.xgroup_destroy(ledger.log, "work")
    else:
        await redis.delete(ledger.log if what == "log" else ledger.state)
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it runs again")
    assert caplog.text.count("processor work, partition 0: keys were lost and were restored") == 1


@pytest.mark.fault(33)
@pytest.mark.parametrize("what", ["log", "state"])
async def test_a_key_of_the_wrong_type_stops_its_own_partition_only(
    redis: Redis, redis_url: str, app_name: str, what: str
) -> None:
    app = App(
        app_name, redis_url=redis_url, session_timeout=1.0, rebalance_delay=0.05, backoff=0.01
    )
    items = app.stream("items", record=Item, partition_by="number", partition_count=4)
    seen: list[int] = []

    @app.on(items, name="work", exception_policy=ExceptionPolicy.IGNORE)
    async def note(item: Item) -> None:
        seen.append(item.number)

    partition_keys = app.processors["work"].keys(items.spec.partition(Item(number=1)))
    worker = Worker(app)
    run = asyncio.create_task(worker.run())
    await items.send(*(Item(number=number) for number in range(10)))
    await until(lambda: len(seen) == 10, "it runs")
    broken = partition_keys.of_script()[0 if what == "log" else 2]
    await redis.set(broken, "junk")
    others = [
        Item(number=number)
        for number in range(10, 30)
        if app.processors["work"].keys(items.spec.partition(Item(number=number))) != partition_keys
    ]
    await items.send(*others)
    await until(lambda: len(seen) >= 10 + len(others), "the others continue")
    await redis.delete(broken)
    await items.send(Item(number=1))
    await until(lambda: 1 in seen[10 + len(others) :], "it comes back when the key is gone")
    worker.stop.set()
    await run


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
