"""Redis and handlers misbehaving: nothing is lost, nothing hangs, and it is said aloud."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from runnel import App, Events, ExceptionPolicy
from runnel.errors import Full, Halted
from runnel.protocol.scripts import sha
from runnel.worker import feeds, log_reader
from runnel.worker.worker import Worker
from tests.primaries import on_each
from tests.proxy import Proxy
from tests.worker.inside import Item, Ledger, caught_up, lost, owned
from tests.worker.workers import first_times, until


async def test_native_lag_is_the_lag_of_inspect_at_every_sample(
    redis: Redis, ledger: Ledger
) -> None:
    async def slowly(events: Events[Item]) -> None:
        async for item in events.records():
            await asyncio.sleep(0.01)
            ledger.seen.append(item.number)

    ledger.processor(slowly)
    await ledger.send(*range(150))
    async with ledger.running():
        await until(lambda: ledger.seen, "it has begun")
        samples, refilled = 0, False
        while len(ledger.seen) < 300:
            if not refilled and samples >= 3:
                refilled = True
                await ledger.send(*range(150, 300))
            (before,) = await redis.xinfo_groups(ledger.log)
            row = await ledger.row(redis)
            (after,) = await redis.xinfo_groups(ledger.log)
            # Three looks at three instants: where the native ones agree, nothing moved between.
            assert after["lag"] is not None
            if before == after:
                assert row["lag_events"] == after["lag"]
                samples += 1
        await until(lambda: caught_up(redis, ledger), "all is committed")
    (group,) = await redis.xinfo_groups(ledger.log)
    assert (group["lag"], group["pending"], group["entries-read"]) == (0, 0, 300)
    assert samples > 5, "too few moments at which nothing moved"


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


@pytest.mark.fault(35)
async def test_s7_what_others_trimmed_is_counted_once(redis: Redis, ledger: Ledger) -> None:
    ledger.processor()
    async with ledger.running():
        await ledger.send(*range(10))
        await until(lambda: caught_up(redis, ledger), "it runs")
    await ledger.send(*range(10, 30))
    await redis.xtrim(ledger.log, maxlen=5, approximate=False)
    async with ledger.running():
        await until(lambda: 29 in ledger.seen, "it goes on")
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
        await until(lambda: 29 in ledger.seen, "it goes on")
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


@pytest.mark.only_on("server")  # Its proxy stands before one.
@pytest.mark.fault(18, 34)
async def test_s7_a_lost_reply_does_not_end_the_question_what_was_lost(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Reads at rest that do not look, so that the loss is found once its event is in hand.
    monkeypatch.setattr(feeds, "BLOCK_MS", 100)
    monkeypatch.setattr(log_reader, "VERIFY_AFTER", 1_000_000)
    begun, gate = asyncio.Event(), asyncio.Event()

    async def reads() -> int:
        return int((await redis.info("commandstats"))["cmdstat_xread"]["calls"])

    async with Proxy(redis_url) as proxy:
        # A session so long that no heartbeat asks in between.
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

            await until(rests, "it reads at rest")
            await redis.delete(ledger.log)
            await ledger.send(1)
            await begun.wait()
            proxy.lose_reply_to(sha("claim").encode())
            gate.set()
            await until(lambda: caught_up(redis, ledger), "it goes on")
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
        await until(lambda: 9 in ledger.seen, "it goes on")
        await until(lambda: lost(redis, ledger), "the loss is found")
        await ledger.send(10, 11)
        await until(lambda: 11 in ledger.seen, "it goes on")
        await until(lambda: caught_up(redis, ledger), "all is committed")
        row = await ledger.row(redis)
    assert ledger.seen == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    assert (row["lost"], row["processed"], row["lag_events"]) == (2, 10, 0)


@pytest.mark.fault(36)
async def test_a_loss_found_while_an_event_is_set_aside_does_not_stop_the_partition(
    redis: Redis, ledger: Ledger
) -> None:
    begun = asyncio.Event()

    async def fails(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 0:
                begun.set()
                # A read has found that the entry at its cursor is gone.
                await until(lambda: events._queue.state.suspect, "the loss is found")
                raise ValueError("on purpose")
            ledger.seen.append(item.number)

    ledger.processor(fails, exception_policy=ExceptionPolicy.IGNORE, retries=0)
    (place,) = await ledger.items.send(Item(number=0))
    async with ledger.running():
        await begun.wait()
        await redis.xdel(ledger.log, place.id)
        await ledger.send(1)
        await until(lambda: ledger.seen, "it goes on")
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
        await until(lambda: ledger.seen[-2:] == [4, 5], "it goes on")
        await until(lambda: caught_up(redis, ledger), "all is committed")
    # What was finished but could not be committed comes again; nothing is missing or out of order.
    assert first_times(ledger.seen) == [1, 2, 3, 4, 5]


async def test_keys_of_many_partitions_that_vanish_are_one_line(
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
    await until(lambda: "made anew" in caplog.text, "it finds out")
    await items.send(Item(number=20))
    await until(lambda: 20 in seen, "it goes on")
    worker.stop.set()
    await run
    await app.close()
    said = [each for each in caplog.records if "made anew" in each.message]
    assert sorted(p for each in said for p in vars(each)["partitions"]) == [0, 1, 2, 3]
    assert len(said) < 4


@pytest.mark.parametrize("what", ["group", "log", "state"])
async def test_a_worker_that_finds_keys_lost_at_its_start_says_so(
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
    assert caplog.text.count("processor work, partition 0: keys were lost and are made anew") == 1


async def test_a_handler_that_returns_early_or_fails_at_once_is_tried_again(
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
        await until(lambda: ledger.seen == [1, 2, 3], "it comes round")


async def test_a_halted_processor_goes_on_once_its_handler_is_mended(
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
        await until(lambda: ledger.seen == [1, 2, 3], "it goes on")
        await until(lambda: caught_up(redis, ledger), "all is committed")
        assert (await ledger.row(redis))["attempts"] == 0


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
    assert row["epoch"] == epoch, "nobody took the partition meanwhile"


async def test_a_handler_that_never_ends_is_cut_off_after_the_grace(
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


async def test_batches_are_committed_whole_and_a_bad_one_is_taken_apart(
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


@pytest.mark.parametrize("mode", ["each", "explicit"])
async def test_an_event_is_committed_before_the_next_when_asked_for(
    redis: Redis, ledger: Ledger, mode: str
) -> None:
    behind: list[int] = []

    async def careful(events: Events[Item]) -> None:
        async for item in events.records():
            (group,) = await redis.xinfo_groups(ledger.log)
            behind.append(group["entries-read"] - item.number)
            if mode == "explicit":
                await events.commit()

    ledger.processor(careful, commit="each" if mode == "each" else "auto")
    await ledger.send(*range(20))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert behind == [0] * 20
