"""A send is refused as a whole or sent once and in order; first sends share one declaration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from runnel import App, Record
from runnel.embedded.binary import find_binary
from runnel.errors import (
    ConfigError,
    EncodeError,
    Mismatch,
    PartitionKeyError,
    RecordTooLarge,
    ServerError,
)
from runnel.keys import log
from runnel.protocol.scripts import Scripts, sha
from tests.integration.sends import Item, declare, items, spread, stored
from tests.primaries import every_key
from tests.proxy import Proxy
from tests.servers import Server, can_fsync


class Blob(Record):
    key: int
    payload: bytes


@pytest.fixture
async def proxy(redis: Redis, redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


async def test_a_record_that_cannot_be_sent_is_refused_before_anything_is_written(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url, max_record_bytes=200)
    large = app.stream("large", record=Blob, partition_by="key")
    with pytest.raises(RecordTooLarge, match="max_record_bytes"):
        await large.send(Blob(key=0, payload=b""), Blob(key=0, payload=bytes(300)))
    floats = app.stream("floats", record=Item, partition_by=lambda item: item.number / 2)
    with pytest.raises(PartitionKeyError, match="float"):
        await floats.send(*items(1))
    raising = app.stream("raising", record=Item, partition_by=lambda item: [][item.key])
    for number in (1, 2):
        with pytest.raises(PartitionKeyError, match=r"raising, Item.*IndexError: .*out of range"):
            await raising.send(*items(number))
    assert [key for key in await every_key(redis) if key.endswith(b":log")] == []
    await app.close()


async def test_an_encode_error_says_that_nothing_was_sent(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        with pytest.raises(EncodeError) as raised:
            await stream.send(*spread(1, 2), "no item")  # type: ignore[call-overload]
    assert raised.value.sent == [None, None, None]
    assert await stored(redis, stream) == {}


@pytest.mark.parametrize("wait", [-1, float("nan"), "5", [1], None, "", []])
async def test_an_invalid_wait_is_refused(
    redis: Redis, redis_url: str, app_name: str, wait: Any
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        for records in (items(1), items(1, 2)):
            with pytest.raises(ConfigError, match="wait"):
                await stream.send(*records, wait=wait)
    assert await stored(redis, stream) == {}


@pytest.mark.parametrize("drop_oldest", ["no", 1, None])
async def test_drop_oldest_must_be_true_or_false(
    redis: Redis, redis_url: str, app_name: str, drop_oldest: Any
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        for records in (items(1), items(1, 2)):
            with pytest.raises(ConfigError, match="drop_oldest"):
                await stream.send(*records, drop_oldest=drop_oldest)
    assert await stored(redis, stream) == {}


@pytest.mark.only_on("server", "sentinel")
async def test_ten_thousand_records_and_large_ones_go_in_one_call(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    many = app.stream("many", record=Item, partition_by="key", partition_count=4)
    large = app.stream("large", record=Blob, partition_by="key", partition_count=2)
    async with app:
        sent = await many.send(*(Item(key=number % 50, number=number) for number in range(10_000)))
        assert len(set(sent)) == 10_000
        for partition in range(4):
            sent_ids = [each.id for each in sent if each.partition == partition]
            found: Any = await redis.xrange(log(many.spec.prefix(partition)))
            assert [id_.decode() for id_, _ in found] == sent_ids
        blobs = [Blob(key=number % 3, payload=bytes(1_000_000)) for number in range(40)]
        await large.send(*blobs)
        await asyncio.gather(*(large.send(each) for each in blobs))
        lengths = [await redis.xlen(log(large.spec.prefix(partition))) for partition in (0, 1)]
        assert sum(lengths) == 80


@pytest.mark.only_on("server", "sentinel")  # A cluster has one connection to each master.
async def test_a_send_to_many_partitions_uses_one_connection(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    partitions = {each.partition for each in await stream.send(*spread(*range(100)))}
    assert len(partitions) == stream.spec.partition_count > 1
    assert app.producer()._scripts.deployment.client.connections_made == 1
    await app.close()


@pytest.mark.fault(18)
@pytest.mark.only_on("server")
async def test_a_send_whose_reply_was_lost_is_sent_once(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    async with Proxy(redis_url) as proxy:
        app, stream = declare(app_name, proxy.url)
        await stream.send(*items(1))
        proxy.lose_reply_to(sha("append").encode())
        sent = await stream.send(*items(2, 3))
        await app.close()
        assert (proxy.lost, proxy.requests) == (1, 2)
    entries: Any = await redis.xrange(log(stream.spec.prefix(sent[0].partition)))
    assert len(entries) == 3
    assert [id_.decode() for id_, _ in entries[1:]] == [each.id for each in sent]


@pytest.mark.fault(52)
@pytest.mark.parametrize("among", [False, True], ids=["alone", "among others"])
async def test_a_cancelled_send_does_not_swallow_the_next_one(
    redis: Redis, redis_url: str, app_name: str, among: bool
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        await stream.send(*items(0))
        for number in range(1, 30):
            cancelled = spread(*range(-20, 0)) if among else items(-number)
            task = asyncio.create_task(stream.send(*cancelled))
            await asyncio.sleep(0)
            for _ in range(number % 5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await stream.send(*items(number))
    found = (await stored(redis, stream))[0]
    assert [number for number in found if number >= 0] == list(range(30))


@pytest.mark.parametrize("at_a_time", [1, 3, 1000], ids=lambda each: f"{each} at a time")
@pytest.mark.parametrize("records", [1, 2], ids=["alone", "among others"])
async def test_sends_of_tasks_that_start_in_order_arrive_in_order(
    redis: Redis, redis_url: str, app_name: str, at_a_time: int, records: int
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        sends = []
        for number in range(0, 300, records):
            some = items(*range(number, number + records))
            sends.append(asyncio.create_task(stream.send(*some)))
            if number % at_a_time == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*sends)
    assert await stored(redis, stream) == {0: list(range(300))}


async def test_sends_that_wait_for_the_contract_keep_their_order_when_others_arrive(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url, 1)
    numbers = iter(range(1000))

    async def one_after_the_other(key: int) -> None:
        for _ in range(5):
            await stream.send(Item(key=key, number=next(numbers)))

    async with app:
        await asyncio.gather(*(one_after_the_other(key) for key in range(40)))
    async with asyncio.TaskGroup() as group:
        for key in range(40, 80):
            group.create_task(one_after_the_other(key))
    await app.close()
    found: Any = await redis.xrange(log(stream.spec.prefix(0)))
    numbers_found = [
        stream.spec.codec.decode([each for pair in fields.items() for each in pair]).number
        for _, fields in found
    ]
    assert numbers_found == sorted(numbers_found)


@pytest.mark.fault(18)
@pytest.mark.only_on("server")  # Because of the proxy.
async def test_three_thousand_first_sends_take_one_agreement_and_few_connections(
    redis: Redis, proxy: Proxy, app_name: str
) -> None:
    await Scripts(redis).load()
    app, stream = declare(app_name, proxy.url, 16)
    proxy.lose_reply_to(sha("declare").encode())
    async with app:
        await asyncio.gather(*(stream.send(Item(key=i, number=i)) for i in range(3000)))
        assert app.producer()._scripts.client.connections_made <= 17
    assert proxy.requests == 2  # The one whose answer was lost, and its repeat.
    assert sum(map(len, (await stored(redis, stream)).values())) == 3000


@pytest.mark.only_on("server")
async def test_the_check_that_fsync_is_available_is_repeated_after_a_lost_reply(
    redis: Redis, server: Server, app_name: str
) -> None:
    async with Proxy(server.url) as proxy:
        app, stream = declare(app_name, proxy.url, durability="fsync")
        proxy.losing = 1
        async with app:
            if can_fsync(find_binary()):
                await stream.send(*items(0))
            else:
                with pytest.raises(ServerError, match="needs WAITAOF"):
                    await stream.send(*items(0))
        assert proxy.lost == 1


@pytest.mark.fault(52)
@pytest.mark.only_on("server")  # Because of the proxy.
async def test_a_first_send_that_is_cancelled_spoils_nothing_for_the_others(
    redis: Redis, proxy: Proxy, app_name: str
) -> None:
    app, stream = declare(app_name, proxy.url)
    async with app:
        proxy.hold("replies")
        first, *others = (
            asyncio.create_task(stream.send(Item(key=0, number=number))) for number in range(4)
        )
        await asyncio.sleep(0.05)
        first.cancel()
        others[1].cancel()
        await asyncio.sleep(0.05)
        proxy.heal()
        outcomes = await asyncio.gather(first, *others, return_exceptions=True)
        await stream.send(*items(4))
    assert [isinstance(each, asyncio.CancelledError) for each in outcomes] == [
        True,
        False,
        True,
        False,
    ]
    assert [each for each in (await stored(redis, stream))[0] if each not in (0, 2)] == [1, 3, 4]


async def test_a_grown_partition_count_is_refused_before_the_first_append(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        await stream.send(*items(1))
    grown, other = declare(app_name, redis_url, 64)
    async with grown:
        with pytest.raises(Mismatch, match=r"partition_count=4, the code says 64.*stored=4"):
            await other.send(*spread(*range(50)))
    assert await stored(redis, stream) == {0: [1]}


@pytest.mark.only_on("server")  # Because of the proxy.
async def test_a_mismatch_fails_every_send_and_is_checked_again_by_the_next_one(
    redis: Redis, proxy: Proxy, app_name: str
) -> None:
    app, stream = declare(app_name, proxy.url)
    async with app:
        await stream.send(*items(0))
    grown, other = declare(app_name, proxy.url, 64)

    async def refused(work: Awaitable[Any]) -> None:
        with pytest.raises(Mismatch, match="stored=4 given=64"):
            await work

    async with grown:
        proxy.lose_reply_to(sha("declare").encode())
        sends = [other.send(Item(key=i % 3, number=i)) for i in range(50)]
        sends.append(other.send(*spread(*range(20))))
        await asyncio.gather(*map(refused, sends))
        assert proxy.requests == 2
        await redis.flushall()
        await other.send(*items(0))


@pytest.mark.only_on("server")
async def test_a_wrong_password_fails_every_send_at_once(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    url = redis_url.replace("redis://", "redis://nobody:wrong@")
    app, stream = declare(app_name, url, delivery_timeout=3600.0)

    async def refused(*records: Item) -> None:
        with pytest.raises(AuthenticationError):
            await stream.send(*records)

    async with app, asyncio.timeout(20):
        await asyncio.gather(*(refused(Item(key=i % 3, number=i)) for i in range(50)))
        await refused(*spread(*range(20)))
