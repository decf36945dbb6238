"""The policy PARK with workers: only the key of a poisoned event steps aside, in order."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events, Middleware, Stream, keys
from runnel.codec.entry import MOST_FIELDS
from tests.worker.holding_back import OneBehind, Pairs
from tests.worker.parking import Payment, Till
from tests.worker.relay import use_outbox
from tests.worker.workers import until

#: Ten payments of each of four accounts, in turn.
MIXED = [(account, number) for number in range(10) for account in "abcd"]


async def worked_off(redis: Redis, till: Till) -> None:
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")


async def test_other_keys_go_on_and_the_parked_one_queues_in_order(
    redis: Redis, till: Till
) -> None:
    till.declare()
    till.broken = {"b"}
    await till.pay(*MIXED)
    await worked_off(redis, till)
    assert till.by_account() == {each: list(range(10)) for each in "acd"}
    assert till.tried.count(("b", 0)) == 2, "it was retried"
    assert ("b", 1) not in till.tried
    assert await till.parked(redis) == 10
    found = await till.set_aside()
    records = [till.payments.spec.codec.decode(list(each.fields)) for each in found]
    assert [each.number for each in records] == list(range(10))
    assert [each.key for each in found] == [b"b"] * 10
    assert [each.attempts for each in found] == [2, *[0] * 9]
    assert (found[0].error_type, found[0].error_message) == ("ValueError", "no account b")


async def test_the_next_owner_knows_which_keys_are_parked(redis: Redis, till: Till) -> None:
    till.declare()
    till.broken = {"b"}
    await till.pay(("b", 0), ("a", 0))
    await worked_off(redis, till)
    till.broken = set()
    await till.pay(("b", 1), ("a", 1), ("b", 2))
    await worked_off(redis, till)
    assert till.by_account() == {"a": [0, 1]}
    assert await till.parked(redis) == 3


@pytest.mark.parametrize("options", [{"commit": "each"}, {"middleware": [Middleware()]}, {}])
async def test_a_replay_comes_before_new_events_of_the_key(
    redis: Redis, till: Till, options: dict[str, Any]
) -> None:
    till.declare(**options)
    till.broken = {"b", "d"}
    await till.pay(*MIXED)
    await worked_off(redis, till)
    till.broken = {"d"}
    await till.pay(*((each, 10) for each in "abcd"))
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
        assert await till.parked(redis) == 22
        await till.replay()
        await till.pay(*((each, 11) for each in "abcd"))
        await until(lambda: till.passed(redis), "the log is worked off again")
    assert till.by_account() == {each: list(range(12)) for each in "abc"}
    assert await till.parked(redis) == 12
    till.broken = set()
    await till.replay()
    async with till.running():
        await until(lambda: _nothing_parked(redis, till), "all is replayed")
    assert till.by_account()["d"] == list(range(12))


async def _nothing_parked(redis: Redis, till: Till) -> bool:
    return await till.parked(redis) == 0


async def test_a_replayed_event_that_fails_again_stays_parked_with_what_is_behind_it(
    redis: Redis, till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    till.declare()
    till.broken = {"b"}
    await till.pay(*MIXED)
    await worked_off(redis, till)
    await till.replay()
    async with till.running():
        await until(lambda: "has failed again" in caplog.text, "it fails again")
        await till.pay(("b", 10), ("a", 10))
        await until(lambda: till.passed(redis), "the log is worked off")
    assert await till.parked(redis) == 11
    assert ("b", 1) not in till.tried
    assert [each.replaying for each in await till.set_aside()] == [False] * 11
    till.broken = set()
    await till.replay()
    async with till.running():
        await until(lambda: _nothing_parked(redis, till), "all is replayed")
    assert till.by_account()["b"] == list(range(11))


async def test_in_batches_only_the_poisoned_key_steps_aside(redis: Redis, till: Till) -> None:
    async def work(events: Events[Payment]) -> None:
        async for payments in events.take(7).records():
            before = len(till.done)
            try:
                for each in payments:
                    till.handle(each)
            except ValueError:
                del till.done[before:]
                raise

    till.declare(work)
    till.broken = {"b"}
    await till.pay(*MIXED)
    await worked_off(redis, till)
    await till.pay(*((each, 10) for each in "abcd"))
    await worked_off(redis, till)
    assert till.by_account() == {each: list(range(11)) for each in "acd"}
    till.broken = set()
    await till.replay()
    async with till.running():
        await until(lambda: _nothing_parked(redis, till), "all is replayed")
    assert till.by_account()["b"] == list(range(11))


@pytest.mark.parametrize("middleware", [Pairs, OneBehind])
async def test_middleware_that_holds_back_keeps_the_order(
    redis: Redis, till: Till, middleware: Any
) -> None:
    till.declare(middleware=[middleware()])
    till.broken = {"b"}
    await till.pay(*MIXED)
    await worked_off(redis, till)
    found = till.by_account()
    for account in "acd":  # What is held back at the end counts as dropped.
        assert found[account] == list(range(len(found[account])))
        assert len(found[account]) >= 9
    records = [
        till.payments.spec.codec.decode(list(each.fields)) for each in await till.set_aside()
    ]
    assert [each.number for each in records if each.account == "b"] == list(range(10))


async def test_effects_of_replayed_events_count_once_and_those_of_failed_ones_never(
    redis: Redis, till: Till
) -> None:
    totals = till.app.table("totals", till.payments, value=int, default=0)

    async def work(events: Events[Payment]) -> None:
        async for payment in events.records():
            totals[payment.account] += payment.number + 1
            till.handle(payment)

    till.declare(work)
    till.broken = {"b"}
    await till.pay(*MIXED)
    await worked_off(redis, till)
    assert {each: await totals.read(each) for each in "abcd"} == {"a": 55, "b": 0, "c": 55, "d": 55}
    till.broken = set()
    await till.replay()
    async with till.running():
        await until(lambda: _nothing_parked(redis, till), "all is replayed")
    assert await totals.read("b") == 55


async def test_an_event_that_cannot_be_decoded_is_parked_under_the_empty_key(
    redis: Redis, till: Till
) -> None:
    till.declare()
    await till.pay(("a", 0))
    await redis.xadd(till.keys.log, {"msgpack": b"\xc1"})
    await till.pay(("a", 1))
    await worked_off(redis, till)
    assert till.by_account() == {"a": [0, 1]}
    (found,) = await till.set_aside()
    assert (found.key, found.error_type) == (b"", "DecodeError")


@pytest.mark.parametrize("policy", ["park", "retry_later"])
async def test_an_event_with_as_many_fields_as_can_be_sent_is_set_aside(
    redis: Redis, till: Till, policy: str
) -> None:
    pauses = {"backoff": 600, "backoff_max": 600} if policy == "retry_later" else {}
    till.declare(exception_policy=policy, retries=1 if pauses else 0, **pauses)
    till.broken = {"b"}
    wide = {f"h{number}": "x" for number in range(MOST_FIELDS - 1)}
    await till.payments.send(Payment(account="b", number=0), headers=wide)
    await till.pay(("a", 0))
    await worked_off(redis, till)
    assert till.by_account() == {"a": [0]}
    (found,) = await till.set_aside()
    assert till.payments.spec.codec.decode(list(found.fields)).account == "b"


async def test_without_room_the_partition_holds_and_goes_on_once_there_is_some(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    till = Till(app_name, redis_url, park_limit=3)
    till.declare()
    till.broken = {"b"}
    await till.pay(*(("b", number) for number in range(5)), ("a", 0))
    async with till.running():
        await until(lambda: "no room in its parked events" in caplog.text, "it holds")
        assert "runnel dead replay" in caplog.text
        assert await till.parked(redis) <= 3
        assert not await till.passed(redis)
        till.broken = set()
        await till.replay()
        await until(lambda: till.passed(redis), "it goes on")
        await till.replay()
        await until(lambda: _nothing_parked(redis, till), "nothing is left")
    # A worker that held the partition was fenced by the replay: what it had not committed repeats.
    assert till.by_account() == {"b": list(range(5)), "a": [0]}


@pytest.mark.parametrize("outbox", [False, True])
async def test_what_is_emitted_for_parked_events_is_sent_once_when_they_are_replayed(
    redis: Redis, till: Till, monkeypatch: pytest.MonkeyPatch, outbox: bool
) -> None:
    if outbox:
        use_outbox(monkeypatch)
    receipts: Stream[Payment] = till.app.stream(
        "receipts", record=Payment, partition_by="number", partition_count=1
    )

    async def work(events: Events[Payment]) -> None:
        async for payment in events.records():
            events.emit(receipts, payment)
            till.handle(payment)

    till.declare(work)
    till.broken = {"b"}
    await till.pay(*MIXED)
    await worked_off(redis, till)
    till.broken = set()
    await till.replay()
    async with till.running():
        await until(lambda: _nothing_parked(redis, till), "all is replayed")
    entries: Any = await redis.xrange(keys.log(receipts.spec.prefix(0)))
    found: dict[str, list[int]] = defaultdict(list)
    for _, fields in entries:
        flat = [each for pair in fields.items() for each in pair]
        receipt = receipts.spec.codec.decode(flat)
        found[receipt.account].append(receipt.number)
    assert found == {each: list(range(10)) for each in "abcd"}
    assert await redis.xlen(till.keys.outbox) == 0
