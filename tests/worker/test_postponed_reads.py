"""The policy RETRY_LATER with workers: a failed event steps aside by itself, and comes again."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Events, keys, protocol
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from runnel.worker.worker import Worker
from tests.worker import mailroom
from tests.worker.parking import Payment, Till
from tests.worker.workers import Workers, until

LATER = {"exception_policy": "retry_later", "retries": 20, "backoff": 0.02, "backoff_max": 0.1}
PAIRS = [(account, number) for number in range(5) for account in "ab"]


def declare(till: Till, kind: str, **options: Any) -> None:
    """A processor of this kind, with a table that counts what it has done."""
    totals = till.app.table("totals", till.payments, value=int, default=0)

    def one(payment: Payment) -> None:
        totals[payment.account] += 1
        till.handle(payment)

    async def one_async(payment: Payment) -> None:
        one(payment)

    async def batches(events: Events[Payment]) -> None:
        async for several in events.take(4, within=0.01):
            for event in several:
                one(event.record)

    chosen = {**LATER, **options}
    if kind == "batches":
        till.app.processor(till.payments, name="work", **chosen)(batches)
    else:
        more: dict[str, Any] = {"concurrency": 4} if kind == "concurrent" else {}
        function = one if kind == "thread" else one_async
        till.app.on(till.payments, name="work", **chosen, **more)(function)


async def counted(redis: Redis, till: Till) -> dict[str, int]:
    stored: Any = await redis.hgetall(keys.table(till.keys.prefix, "totals"))
    return {key.decode(): int(value) for key, value in stored.items()}


async def row(redis: Redis, till: Till) -> dict[str, Any]:
    """What `inspect` says of the partition."""
    seen = await inspect(redis, await check_server(redis, till.url), till.app.name)
    found: dict[str, Any] = seen["processors"][0]["partitions"][0]
    return {**found, "of_all": seen["processors"][0]["state"]}


async def _postponed(redis: Redis, till: Till, count: int) -> bool:
    return int(await redis.zcard(till.keys.postponed)) == count


async def _done(redis: Redis, till: Till, pairs: Sequence[tuple[str, int]] = PAIRS) -> bool:
    none = await till.parked(redis) == 0
    return none and await till.passed(redis) and set(till.done) == set(pairs)


@pytest.mark.parametrize("kind", ["async", "thread", "batches", "concurrent", "each"])
async def test_others_go_on_also_of_its_key_and_each_counts_once(
    redis: Redis, till: Till, kind: str
) -> None:
    declare(till, kind, **({"commit": "each"} if kind == "each" else {}))
    till.broken = {"b"}
    await till.pay(*PAIRS)
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
        await until(lambda: len(till.tried) > 20, "some were tried again")
        assert set(till.done) == {("a", number) for number in range(5)}
        seen = await row(redis, till)
        assert (seen["postponed"], seen["parked"], seen["of_all"]) == (5, 0, "degraded")
        assert await counted(redis, till) == {"a": 5}
        till.broken = set()
        await until(lambda: _done(redis, till), "all were tried again")
        seen = await row(redis, till)
        assert (seen["postponed"], seen["postponed_in_ms"], seen["of_all"]) == (0, None, "ok")
    assert await counted(redis, till) == {"a": 5, "b": 5}
    assert till.done.count(("b", 0)) == 1


async def test_without_retries_left_it_stays_parked_until_it_is_replayed(
    redis: Redis, till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    declare(till, "async", retries=2)
    till.broken = {"b"}
    await till.pay(*PAIRS[:4])
    async with till.running():
        await until(lambda: caplog.text.count("has used up its retries") == 2, "they are given up")
        assert till.tried.count(("b", 0)) == till.tried.count(("b", 1)) == 3
        (first, _) = found = await till.set_aside()
        assert [(each.kind, each.key, each.attempts) for each in found] == [("parked", b"b", 3)] * 2
        assert (first.error_type, first.due_ms) == ("ValueError", None)
        assert (await row(redis, till))["parked"] == 2
        await till.pay(("b", 9))
        await until(lambda: ("b", 9) in till.tried, "no later event of the key waits")
        till.broken = set()
        await till.replay()
        await until(lambda: _done(redis, till, [*PAIRS[:4], ("b", 9)]), "all were replayed")


async def test_without_retries_left_it_becomes_a_dead_letter(redis: Redis, till: Till) -> None:
    declare(till, "async", retries=1, middleware=[DeadLetterMiddleware()])
    till.broken = {"b"}
    await till.pay(*PAIRS[:4])
    sink = till.processor.sink
    assert sink is not None
    async with till.running():
        log = keys.log(sink.prefix(0))
        await until(lambda: _length(redis, log, 2), "they are dead letters")
    assert await till.parked(redis) == 0
    assert [(each.kind, each.attempts) for each in await till.set_aside()] == [
        ("dead letter", 2)
    ] * 2


async def _length(redis: Redis, log: str, length: int) -> bool:
    return int(await redis.xlen(log)) == length


@pytest.mark.parametrize("kind", ["async", "concurrent"])
async def test_without_room_the_partition_waits_and_goes_on_by_itself(
    redis: Redis, till: Till, kind: str
) -> None:
    declare(till, kind, park_limit=2)
    till.broken = {"b"}
    await till.pay(*PAIRS)
    async with till.running():
        await until(lambda: _waits(redis, till), "inspect tells that it waits")
        if kind == "async":
            await until(lambda: till.tried.count(("b", 0)) > 2, "what is due is tried meanwhile")
        assert await till.parked(redis) == 2
        till.broken = set()
        await until(lambda: _done(redis, till), "all is processed")
    assert await counted(redis, till) == {"a": 5, "b": 5}


async def _waits(redis: Redis, till: Till) -> bool:
    if not await redis.hexists(till.keys.state, "wait_for"):
        return False
    waits: dict[str, Any] | None = (await row(redis, till))["waits_for"]
    return waits is not None and "more than 2 would be parked" in waits["reason"]


async def test_the_next_owner_tries_it_when_it_is_due_and_not_before(
    redis: Redis, till: Till
) -> None:
    declare(till, "async", backoff=0.7, backoff_max=0.7)
    till.broken = {"b"}
    await till.pay(("b", 0), ("a", 0))
    async with till.running():
        await until(lambda: _postponed(redis, till, 1), "it is postponed")
    (item,) = await till.set_aside()
    assert (item.kind, item.attempts) == ("postponed", 1)
    till.broken = set()
    async with till.running():
        await until(lambda: _done(redis, till, [("b", 0), ("a", 0)]), "the next one tries it")
    seconds, micros = await redis.time()
    assert item.due_ms is not None
    assert seconds * 1000 + micros // 1000 >= item.due_ms
    assert till.tried == [("b", 0), ("a", 0), ("b", 0)]


async def test_a_burst_waits_for_what_was_due_at_its_start_only(redis: Redis, till: Till) -> None:
    declare(till, "async", backoff=3600.0, backoff_max=3600.0)
    till.broken = {"b"}
    await till.pay(("b", 0), ("b", 1))
    await Worker(till.app, burst=True).run()
    assert await till.parked(redis) == 2, "it does not wait for retries of its own"
    entries: Any = await redis.zrange(till.keys.postponed, 0, -1)
    await redis.zadd(till.keys.postponed, dict.fromkeys(entries, 1))
    await redis.hset(till.keys.state, "postponed_due", "1")
    till.broken = set()
    await Worker(till.app, burst=True).run()
    assert await _done(redis, till, [("b", 0), ("b", 1)])


async def test_one_that_cannot_be_decoded_is_not_tried_again(
    redis: Redis, till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    declare(till, "async")
    await till.pay(("a", 0))
    await redis.xadd(till.keys.log, {"json": "{"})
    await till.pay(("a", 1))
    async with till.running():
        await until(lambda: "has used up its retries" in caplog.text, "it is given up")
        await until(lambda: till.passed(redis), "the log is worked off")
    assert [(each.kind, each.attempts) for each in await till.set_aside()] == [("parked", 1)]
    assert till.done == [("a", 0), ("a", 1)]


async def test_another_policy_tries_what_was_postponed_once_and_then_leaves_it(
    redis: Redis, till: Till
) -> None:
    declare(till, "async")
    till.broken = {"b"}
    await till.pay(("b", 0))
    async with till.running():
        await until(lambda: _postponed(redis, till, 1), "it is postponed")
    other = Till(till.app.name, till.url, retries=0)
    declare(other, "async", exception_policy="quarantine", retries=0)
    other.broken = {"b"}
    async with other.running():
        await until(lambda: _postponed(redis, other, 0), "it is given up")
        assert (await row(redis, other))["state"] == "owned"
    assert await other.parked(redis) == 1


@pytest.mark.fault(1)
async def test_a_worker_that_is_killed_in_a_retry_loses_nothing_and_nothing_counts_twice(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    workers = Workers(redis_url, tmp_path, "tests.worker.mailroom:app")
    mailroom.app.configure(redis_url=redis_url)
    try:
        first = workers.start()
        mails = [mailroom.Mail(number=each, fault="down" if each == 1 else "") for each in range(4)]
        await mailroom.mails.send(*mails)
        await until(lambda: first.poll() is not None, "the retry kills the worker")
        assert first.returncode == -signal.SIGKILL
        workers.start()
        table = keys.table(mailroom.mails.spec.prefix(0), "sent")
        wanted = {str(each).encode(): b"1" for each in range(4)}
        await until(lambda: _has(redis, table, wanted), "each counts once")
        of = protocol.PartitionKeys(mailroom.mails.spec.prefix(0), "deliver")
        assert await redis.exists(of.postponed, keys.parked_keys(of.prefix, "deliver")) == 0
    finally:
        workers.close()
        await mailroom.app.close()


async def _has(redis: Redis, table: str, wanted: dict[bytes, bytes]) -> bool:
    stored: Any = await redis.hgetall(table)
    return bool(stored == wanted)
