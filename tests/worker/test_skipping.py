"""An operator skips an event that failed for good, with workers or without."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Events, Full, keys
from runnel.errors import Halted
from runnel.operations import admin
from runnel.operations.skipping import skip
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.ledger import Entry
from tests.worker.workers import Workers, send, until

FAULTY = [Entry(key=1, number=n, fault="raise" if n == 2 else "") for n in range(5)]


def failing(ledger: Ledger, *bad: int) -> Any:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number in bad:
                raise ValueError("a fault on purpose")
            ledger.seen.append(item.number)

    return work


async def test_halt_names_the_next_command_and_that_command_works(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    await send(redis_url, *FAULTY)
    process = workers.start("--processors", "book")
    await until(lambda: process.poll() is not None, "the worker halts")
    assert process.returncode == 1
    command = workers.log.strip().splitlines()[-1].split("`")[-2]
    assert command.startswith("runnel processor resume tests.worker.ledger:book --partition ")
    skipped = workers.run(*command.split()[1:], "--yes")
    assert skipped.returncode == 0, skipped.stderr
    assert "skipped" in skipped.stdout
    assert "resumed" not in skipped.stdout
    workers.start("--processors", "book")
    await until(lambda: workers.effects() == {1: [0, 1, 3, 4]}, "the events after it are processed")


@pytest.mark.parametrize("lives", [False, True])
async def test_skip_leaves_an_event_that_workers_retry_unless_its_partition_is_named(
    redis: Redis, redis_url: str, ledger: Ledger, lives: bool
) -> None:
    ledger.processor(failing(ledger, 1), retries=5, backoff=30.0, backoff_max=30.0)
    scripts, work = Scripts(redis), ledger.app.processors["work"]
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: failed(redis, ledger), "it has failed once")
        if lives:
            event, reason = await skip(scripts, work, 0)
    if not lives:
        event, reason = await skip(scripts, work, 0)
    assert event is None
    assert "has failed 1 times; it is not skipped" in reason
    assert (await skip(scripts, work, 0, named=True)).event
    async with ledger.running():
        await until(lambda: ledger.seen == [0, 2], "it continues")


async def failed(redis: Redis, ledger: Ledger) -> bool:
    return bool((await ledger.row(redis)).get("error"))


async def test_skip_ends_a_halt_where_another_worker_holds_the_partition(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    ledger.processor(failing(ledger, 1), retries=0, exception_policy="halt")
    await ledger.send(0, 1, 2)
    with pytest.raises(Halted, match=r"--partition 0 --skip`"):
        await Worker(ledger.app).run()
    scripts, work = Scripts(redis), ledger.app.processors["work"]
    assert (await skip(scripts, work, 0)).event
    assert await skip(scripts, work, 0) == (None, "")
    assert (await skip(scripts, work, 0, named=True)).reason == "no event of it has failed"
    async with ledger.running():
        await until(lambda: ledger.seen == [0, 2], "it continues")


async def test_a_handler_that_failed_before_any_event_has_none_to_skip(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    async def work(events: Events[Item]) -> None:
        raise ValueError("no connection to begin with")

    ledger.processor(work, retries=0)
    await ledger.send(0)
    async with ledger.running():
        await until(lambda: quarantined(redis, ledger), "it is quarantined")
        scripts, declared = Scripts(redis), ledger.app.processors["work"]
        event, reason = await skip(scripts, declared, 0)
        assert (event, reason.startswith("its handler failed before")) == (None, True)


async def quarantined(redis: Redis, ledger: Ledger) -> bool:
    return bool((await ledger.row(redis)).get("state") == "quarantined")


async def test_a_dead_letter_by_hand_has_every_field_as_it_was(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    sent = [b"sensor", b"t", b"value", b"1", b"value", b"2", b"value", b"3"]
    ledger.processor(retries=0, middleware=[DeadLetterMiddleware()])
    await redis.execute_command("XADD", ledger.log, "*", *sent)  # type: ignore[no-untyped-call]
    async with ledger.running():
        await until(lambda: quarantined(redis, ledger), "it is quarantined")
        work = ledger.app.processors["work"]
        assert await admin.skip(Scripts(redis), work, 0, work.sink)
        assert work.sink
        entries: Any = await redis.xrange(keys.log(work.sink.prefix(0)))
        ((_, fields),) = entries
        assert msgpack.unpackb(fields[b"msgpack"])["fields"] == sent
        await admin.resume(Scripts(redis), work)
        await until(lambda: caught_up(redis, ledger), "it continues")


def with_room_for_two_letters(redis_url: str, app_name: str) -> Ledger:
    """Its processor fails on the items 1, 2 and 3."""
    ledger = Ledger(app_name, redis_url, partition_size=2)
    ledger.processor(failing(ledger, 1, 2, 3), retries=0, middleware=[DeadLetterMiddleware()])
    return ledger


async def test_an_event_whose_dead_letter_has_no_room_stays_and_its_partition_is_claimed_again(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = with_room_for_two_letters(redis_url, app_name)
    scripts, work = Scripts(redis), ledger.app.processors["work"]
    async with ledger.running():
        for number in (1, 2):
            await ledger.send(number)
            await until(lambda: quarantined(redis, ledger), "it is quarantined")
            assert (await skip(scripts, work, 0)).event
            await admin.resume(scripts, work)
            await until(lambda: caught_up(redis, ledger), "it continues")
        await ledger.send(3)
        await until(lambda: quarantined(redis, ledger), "it is quarantined")
        with pytest.raises(Full) as caught:
            await skip(scripts, work, 0)
        assert caught.value.sink == "items.work.dead"
        assert await quarantined(redis, ledger)
        await until(lambda: held(redis, ledger), "the worker holds it again")
        assert (await ledger.row(redis))["error"]["message"] == "a fault on purpose"
        await ledger.app.close()


async def held(redis: Redis, ledger: Ledger) -> bool:
    row = await ledger.row(redis)
    return bool(row["owner"] and row["owner"] != "operator")


async def test_a_skip_that_is_refused_counts_as_no_death_of_a_worker(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = with_room_for_two_letters(redis_url, app_name)
    scripts, work = Scripts(redis), ledger.app.processors["work"]
    for number in (1, 2, 3):
        await ledger.send(number)
        async with ledger.running():
            await until(lambda: quarantined(redis, ledger), "it is quarantined")
        if number < 3:
            assert (await skip(scripts, work, 0)).event
            await admin.resume(scripts, work)
    for _ in range(2):
        with pytest.raises(Full):
            await skip(scripts, work, 0)
    state = work.keys(0).state
    async with ledger.running():
        await until(lambda: held(redis, ledger), "a worker holds it")
        assert await redis.hget(state, "unclean_tenures") == b"0"
    await ledger.app.close()
