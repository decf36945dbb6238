"""`send(at=…)`, `send(delay=…)` and `cancel`: events that wait in Redis until they are due."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, TimeoutError

from runnel import Stream, keys, protocol
from runnel.delayed import Delayed
from runnel.errors import ConfigError, EncodeError, Full
from runnel.protocol.scripts import Scripts
from tests.integration.sends import Item, declare, items, spread, stored
from tests.proxy import Proxy


async def waiting(redis: Redis, stream: Stream[Item]) -> list[int]:
    """The numbers of all delayed items, partition by partition, in the order of their due times."""
    found = []
    for partition in range(stream.spec.partition_count):
        key = keys.delayed(stream.spec.prefix(partition))
        members: Any = await redis.zrange(key, 0, -1, withscores=True)
        for member, due in members:
            delayed = protocol.read_delayed(member, due)
            assert delayed
            found.append(stream.spec.codec.decode(delayed.entry).number)
    return found


async def promote(redis: Redis, stream: Stream[Item]) -> int:
    """How many events were due."""
    spec, moved = stream.spec, 0
    for partition in range(spec.partition_count):
        call = protocol.promote(spec.prefix(partition), spec.contract, spec.partition_size)
        moved += protocol.read_promote(await Scripts(redis).call(call)).moved
    return moved


async def test_a_record_waits_and_is_there_when_it_is_due(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    before = datetime.now(UTC)
    async with app:
        (receipt,) = await stream.send(*items(1), delay=60, headers={"trace": "t1"})
        assert isinstance(receipt, Delayed)
        assert timedelta(seconds=50) < receipt.due - before < timedelta(seconds=70)
        assert receipt.partition == stream.spec.partition(items(1)[0])
        at = before + timedelta(hours=1)
        (at_receipt,) = await stream.send(*items(2), at=at)
        assert abs(at_receipt.due - at) < timedelta(milliseconds=1)
        await stream.send(*items(0), delay=0)
        assert await waiting(redis, stream) == [0, 1, 2]
        assert await promote(redis, stream) == 1
    assert await stored(redis, stream) == {0: [0]}
    assert await waiting(redis, stream) == [1, 2]


async def test_many_records_wait_in_their_partitions_and_keep_their_order(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        receipts = await stream.send(*spread(*range(40)), *items(*range(700)), delay=0)
        assert len(set(receipts)) == 740
        for number, receipt in enumerate(receipts[:40]):
            assert receipt.partition == stream.spec.partition(Item(key=number, number=0))
        while await promote(redis, stream):
            pass
    found = await stored(redis, stream)
    assert found.pop(0) == [0, *range(700)]
    assert found == {number: [number] for number in range(1, 40)}


async def test_a_send_does_not_overtake_what_is_due(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        await stream.send(*items(1), delay=0)
        await stream.send(*items(2))
        await stream.send(*items(3), delay=0)
        await stream.send(*items(4, 5))
        await stream.send(*items(6), delay=0)
        await stream.send(*items(7), dedupe="seven")
        await stream.send(*items(8), delay=0)
        await app.producer(id="till").send(stream, *items(9), number=1)
    assert await stored(redis, stream) == {0: [1, 2, 3, 4, 5, 6, 7, 8, 9]}


@pytest.mark.only_on("server")
async def test_a_lost_reply_is_no_duplicate(redis: Redis, redis_url: str, app_name: str) -> None:
    async with Proxy(redis_url) as proxy:
        app, stream = declare(app_name, proxy.url)
        async with app:
            await stream.send(*items(1))
            proxy.lose_reply_to(b":delayed")
            (receipt,) = await stream.send(*items(2), delay=60)
            assert await waiting(redis, stream) == [2]
            assert await stream.cancel(receipt)
            await stream.send(*items(3), delay=0)
            proxy.lose_reply_to(b":delayed")
            await stream.send(*items(4))  # It promotes first, and gets no answer to that.
    assert await stored(redis, stream) == {0: [1, 3, 4]}


@pytest.mark.only_on("server")
async def test_a_cancel_without_a_certain_answer_says_so(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    async with Proxy(redis_url) as proxy:
        app, stream = declare(app_name, proxy.url)
        async with app:
            (receipt,) = await stream.send(*items(1), delay=60)
            proxy.lose_reply_to(b":delayed")
            with pytest.raises((ConnectionError, TimeoutError)):
                await stream.cancel(receipt)
            assert await stream.cancel(receipt) is False
    assert await waiting(redis, stream) == []


async def test_a_cancelled_record_is_not_sent(redis: Redis, redis_url: str, app_name: str) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        first, second = await stream.send(*items(1, 2), delay=60)
        assert await stream.cancel(first) is True
        assert await stream.cancel(first) is False
        assert await waiting(redis, stream) == [2]
        with pytest.raises(ConfigError, match="partitions 0 to 3, and not 9"):
            await stream.cancel(second._replace(partition=9))
        with pytest.raises(ConfigError, match="cancel takes what send"):
            await stream.cancel("1-1")  # type: ignore[arg-type]


async def test_a_record_is_delayed_once_under_its_key(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        first = await stream.send(*items(1), dedupe="order-1", delay=60)
        assert await stream.send(*items(1), dedupe="order-1", delay=90) == first
        await stream.send(*items(2), dedupe="order-1")
        with pytest.raises(ConfigError, match="one record, not 2"):
            await stream.send(*items(1, 2), dedupe="order-2", delay=60)
    assert await waiting(redis, stream) == [1]
    assert await stored(redis, stream) == {0: [2]}, "the keys of both are remembered apart"


async def test_as_many_wait_as_the_partition_may_hold(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url, partition_size=2)
    async with app:
        first, _ = await stream.send(*items(1, 2), delay=60)
        with pytest.raises(Full, match=r"is full \(2 events\) because 2 delayed events") as raised:
            await stream.send(*items(3), delay=60)
        assert raised.value.sent == [None]
        later = asyncio.create_task(stream.send(*items(3), delay=60, wait=True))
        await asyncio.sleep(0)
        await stream.cancel(first)
        await later
    assert await waiting(redis, stream) == [2, 3]


async def test_what_is_due_waits_for_room_and_so_do_sends(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url, partition_size=2)
    async with app:
        (sent, _) = await stream.send(*items(1, 2))
        await stream.send(*items(3), delay=0)
        with pytest.raises(Full, match="no processor is registered"):
            await stream.send(*items(4))
        room = asyncio.create_task(stream.send(*items(4), wait=True))
        await redis.xtrim(keys.log(stream.spec.prefix(sent.partition)), maxlen=0)
        await room
        assert await stored(redis, stream) == {0: [3, 4]}
        await stream.send(*items(5), delay=0)
        await stream.send(*items(6), drop_oldest=True)
    assert await stored(redis, stream) == {0: [5, 6]}


async def test_an_option_that_is_wrong_is_refused_and_nothing_is_sent(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        options: list[dict[str, Any]] = [
            {"delay": -1},
            {"delay": 5, "at": datetime.now(UTC)},
            {"at": datetime.now()},
            {"delay": 5, "drop_oldest": True},
        ]
        for each in options:
            with pytest.raises(ConfigError):
                await stream.send(*items(1), **each)
        with pytest.raises(EncodeError) as raised:
            await stream.send(*items(1), "no item", delay=5)  # type: ignore[call-overload]
        assert raised.value.sent == [None, None]
        with pytest.raises(ConfigError, match="derived"):
            await stream.derive("copies", Item).send(*items(1), delay=5)
    assert await waiting(redis, stream) == []


async def test_a_loss_is_logged_by_the_next_send(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        (receipt, _) = await stream.send(*items(1, 2), delay=0)
        await redis.delete(keys.delayed(stream.spec.prefix(receipt.partition)))
        await stream.send(*items(3))
        await stream.send(*items(4))
    assert caplog.text.count("2 delayed events were LOST") == 1
    assert await stored(redis, stream) == {0: [3, 4]}
