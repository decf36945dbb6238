"""What operators can do about events that failed for good, with workers or without."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgpack
import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Events, Full, keys, protocol
from runnel.errors import Halted
from runnel.operations import admin
from runnel.operations.removing import remove
from runnel.operations.skipping import skip
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from runnel.worker import quarantine_reminder
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up, owned
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
    skipped = workers.run(*command.split()[1:])
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
        assert await redis.hget(state, "tenures") == b"0"
    await ledger.app.close()


async def test_a_worker_with_quarantined_partitions_logs_them_again_in_one_line(
    redis: Redis,
    redis_url: str,
    app_name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quarantine_reminder, "FIRST", 0.05)
    monkeypatch.setattr(quarantine_reminder, "EVERY", 0.05)
    ledger = Ledger(app_name, redis_url)
    many = ledger.app.stream("many", record=Item, partition_by="number", partition_count=6)

    broken = True

    @ledger.app.on(many, retries=0)
    async def picky(item: Item) -> None:
        if broken:
            raise ValueError("a fault on purpose")

    await many.send(*(Item(number=n) for n in range(40)))
    caplog.set_level(logging.WARNING, "runnel.worker")
    async with ledger.running():
        await until(lambda: reminders(caplog, "partitions 0-5 are"), "it is logged")
        caplog.clear()
        await until(lambda: len(reminders(caplog, "partitions 0-5 are")) > 1, "and logged again")
        assert "resume tests.worker.test_operators:picky --partition 0-5`" in caplog.text
        broken = False
        await admin.resume(Scripts(redis), ledger.app.processors["picky"], [1, 2, 3, 4, 5])
        await until(
            lambda: reminders(caplog, "partition 0 is quarantined"), "the remaining one is logged"
        )


def reminders(caplog: pytest.LogCaptureFixture, said: str) -> list[str]:
    found = [each.getMessage() for each in caplog.records]
    return [each for each in found if said in each and "nothing after" in each]


async def group_keys(redis: Redis, processor: Processor) -> int:
    group = processor.group
    return int(await redis.exists(keys.plan(group), keys.members(group), keys.sessions(group)))


async def test_remove_waits_until_running_workers_have_left_and_forgets_the_group(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    ledger.processor()
    other: list[int] = []

    @ledger.app.on(ledger.items, name="other")
    async def more(item: Item) -> None:
        other.append(item.number)

    await ledger.send(1)
    work = ledger.app.processors["work"]
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it runs")
        assert await group_keys(redis, work)
        assert await remove(Scripts(redis), work) == (1, 0)
        assert not await group_keys(redis, work)
        await ledger.send(2)
        await until(lambda: other == [1, 2], "the other processor continues")
    assert not await group_keys(redis, work)
    assert ledger.seen in ([], [1])


async def test_remove_says_how_many_members_have_not_left(
    redis: Redis, redis_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.operations.removing._TIME_TO_NOTICE", 0.0)
    ledger.processor()
    work = ledger.app.processors["work"]
    scripts = Scripts(redis)
    await admin.add(scripts, work)
    stays = ("elsewhere", "incarnation", "host 1 python 1")
    call = protocol.sync(work.group, 1, (100, 100, 0), stays, 1, "stay", (), ())
    beats = asyncio.create_task(_beat(scripts, work, stays))
    await scripts.call(call)
    try:
        assert await remove(scripts, work) == (1, 1)
        assert await group_keys(redis, work)
    finally:
        beats.cancel()
    await until(lambda: gone(scripts, work), "its session ends")
    assert await remove(scripts, work) == (0, 0)
    assert not await group_keys(redis, work)


async def _beat(scripts: Scripts, work: Processor, member: tuple[str, str, str]) -> None:
    for number in range(2, 1000):
        await asyncio.sleep(0.02)
        await scripts.call(
            protocol.sync(work.group, 1, (1000, 100, 0), member, number, "stay", (), ())
        )


async def gone(scripts: Scripts, work: Processor) -> bool:
    group_description = protocol.read_describe_group(
        await scripts.call(protocol.describe_group(work.group))
    )
    return all(member.left_ms <= 0 for member in group_description.members)


async def test_a_handler_that_fails_without_a_current_event_shows_in_inspect(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    broken = True

    async def work(events: Events[Item]) -> None:
        if broken:
            raise ValueError("no connection to begin with")
        async for item in events.records():
            ledger.seen.append(item.number)

    ledger.processor(work, exception_policy="ignore", backoff_max=0.05)
    async with ledger.running():
        row = await until(lambda: failing_row(redis, ledger), "it is shown")
        assert (row["error"]["type"], row["error"]["event"]) == ("ValueError", row["checkpoint"])
        assert row["attempts"] == 0
        await ledger.send(1)
        broken = False
        await until(lambda: caught_up(redis, ledger), "it continues")
        assert (await ledger.row(redis))["failing"] is False


async def failing_row(redis: Redis, ledger: Ledger) -> dict[str, Any] | None:
    row = await ledger.row(redis)
    return row if row.get("failing") else None
