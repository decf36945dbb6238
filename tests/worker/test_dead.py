"""What was set aside is found, replayed and dropped in any number."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, keys
from runnel.operations import admin, dead
from runnel.operations.dead import Wanted
from runnel.operations.removing import parked_events
from runnel.protocol import parked_names
from tests.worker.parking import Till
from tests.worker.workers import until

MANY = 620


async def _is(redis: Redis, till: Till, number: int) -> bool:
    return await till.parked(redis) == number


async def test_more_keys_and_events_than_one_call_takes(redis: Redis, till: Till) -> None:
    till.declare(retries=0)
    accounts = [f"k{number}" for number in range(MANY)]
    till.broken = set(accounts)
    await till.pay(*((each, 0) for each in accounts))
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
    assert await till.parked(redis) == MANY
    found = await till.set_aside()
    async with till.scripts() as scripts:
        dropped = await dead.drop(scripts, till.processor, found[:110])
    assert dropped == 110
    assert await till.parked(redis) == MANY - 110
    till.broken = set()
    await till.replay()
    async with till.running():
        await until(lambda: _is(redis, till, 0), "all is replayed")
    assert [each for each, _ in till.done] == accounts[110:]


async def test_more_letters_than_one_call_takes(redis: Redis, till: Till) -> None:
    till.declare(retries=0, exception_policy="ignore", middleware=[DeadLetterMiddleware()])
    till.broken = {"a"}
    await till.pay(*(("a", number) for number in range(230)))
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
    assert till.processor.sink
    log = keys.log(till.processor.sink.prefix(0))
    assert await redis.xlen(log) == 230
    till.broken = set()
    await till.replay()
    assert (await redis.xlen(log), await till.parked(redis)) == (0, 230)
    async with till.running():
        await until(lambda: _is(redis, till, 0), "all is replayed")
    assert till.by_account() == {"a": list(range(230))}


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (Wanted(), 4),
        (Wanted([0]), 4),
        (Wanted([]), 0),
        (Wanted(key=b"a"), 3),
        (Wanted(key=b"b"), 1),
        (Wanted(since_ms=2**50), 0),
        (Wanted(event="1-1"), 0),
    ],
)
async def test_what_is_meant(redis: Redis, till: Till, wanted: Wanted, number: int) -> None:
    till.declare(retries=0)
    till.broken = {"a", "b"}
    await till.pay(("a", 0), ("a", 1), ("b", 0), ("a", 2))
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
    assert len(await till.set_aside(wanted)) == number


async def test_a_reset_keeps_what_is_parked_and_a_deleted_stream_does_not(
    redis: Redis, till: Till
) -> None:
    till.declare(retries=0)
    till.broken = {"b"}
    await till.pay(("a", 0), ("b", 0))
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
    async with till.scripts() as scripts:
        await admin.reset(scripts, till.processor, "0")
        assert await till.parked(redis) == 1
        async with till.running():
            await until(lambda: till.passed(redis), "the log is worked off again")
        assert till.by_account() == {"a": [0]}
        assert await till.parked(redis) == 2, "read again, it is parked again"
        assert await parked_events(scripts, till.payments.spec) == 2
        assert await parked_events(scripts, till.payments.spec, "work") == 2
        assert await parked_events(scripts, till.payments.spec, "other") == 0
        await admin.delete_stream(scripts, till.payments.spec)
    assert await redis.exists(*parked_names(till.keys)) == 0
