"""First sends to a stream keep order, are repeated after lost replies, and share connections."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ConnectionError

from runnel import App, Record, Stream
from runnel.errors import Mismatch
from runnel.keys import log
from runnel.producer.single_flight import SingleFlight
from runnel.protocol.scripts import Scripts, sha
from runnel.stream import Sent
from tests.proxy import Proxy
from tests.servers import Server
from tests.worker.workers import until


class Item(Record):
    key: int
    number: int


def declare(name: str, url: str, count: int = 4, **settings: Any) -> tuple[App, Stream[Item]]:
    app = App(name, redis_url=url, **settings)
    return app, app.stream("items", record=Item, partition_by="key", partition_count=count)


async def stored(redis: Redis, stream: Stream[Item]) -> dict[int, list[int]]:
    """Key -> numbers, in the order of the log."""
    found = defaultdict(list)
    for partition in range(stream.spec.partition_count):
        entries: Any = await redis.xrange(log(stream.spec.prefix(partition)))
        for _, fields in entries:
            item = stream.spec.codec.decode([each for pair in fields.items() for each in pair])
            found[item.key].append(item.number)
    return found


@pytest.fixture
async def proxy(redis: Redis, redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


@pytest.mark.parametrize("at_a_time", [1, 3, 1000], ids=lambda each: f"{each} at a time")
@pytest.mark.parametrize("records", [1, 2], ids=["alone", "among others"])
async def test_sends_of_tasks_that_start_in_order_arrive_in_order(
    redis: Redis, redis_url: str, app_name: str, at_a_time: int, records: int
) -> None:
    app, stream = declare(app_name, redis_url)
    async with app:
        sends = []
        for number in range(0, 300, records):
            items = [Item(key=0, number=number + i) for i in range(records)]
            sends.append(asyncio.create_task(stream.send(*items)))
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


@pytest.mark.parametrize("records", [1, 50], ids=["one", "many"])
async def test_sends_succeed_when_the_server_comes_back_in_time(
    server: Server, app_name: str, records: int
) -> None:
    server.kill()
    app, stream = declare(app_name, server.url)
    async with app:
        sending = asyncio.create_task(stream.send(*(Item(key=i, number=i) for i in range(records))))
        other = asyncio.create_task(stream.send(Item(key=99, number=99)))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
        assert len(await sending) == records
        await other


@pytest.mark.only_on("server")
async def test_the_check_that_fsync_is_available_is_repeated_after_a_lost_reply(
    redis: Redis, server: Server, app_name: str
) -> None:
    async with Proxy(server.url) as proxy:
        app, stream = declare(app_name, proxy.url, durability="fsync")
        proxy.losing = 1
        async with app:
            await stream.send(Item(key=0, number=0))
        assert proxy.lost == 1


async def test_when_the_server_stays_away_every_send_fails_after_its_timeout(
    server: Server, app_name: str
) -> None:
    server.kill()
    app, stream = declare(app_name, server.url, delivery_timeout=0.3)

    async def failed(number: int) -> list[Sent | None]:
        with pytest.raises(ConnectionError) as raised:
            await stream.send(Item(key=number % 8, number=number))
        found: list[Sent | None] = vars(raised.value)["sent"]
        return found

    async with app, asyncio.timeout(3):
        assert await asyncio.gather(*map(failed, range(100))) == 100 * [[None]]
        server.start()
        await stream.send(Item(key=0, number=0))


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
        await stream.send(Item(key=0, number=4))
    assert [isinstance(each, asyncio.CancelledError) for each in outcomes] == [
        True,
        False,
        True,
        False,
    ]
    assert [each for each in (await stored(redis, stream))[0] if each not in (0, 2)] == [1, 3, 4]


@pytest.mark.fault(52)
@pytest.mark.only_on("server")  # Because of the proxy.
@pytest.mark.parametrize("records", [1, 2], ids=["alone", "among others"])
async def test_nothing_is_sent_while_a_cancelled_one_is_under_way(
    redis: Redis, proxy: Proxy, app_name: str, records: int
) -> None:
    app, stream = declare(app_name, proxy.url)
    async with app:
        await stream.send(Item(key=0, number=0))
        proxy.hold("replies")
        numbers = [[10 * i + n for n in range(records)] for i in range(1, 5)]
        expected = [0, *(number for some in numbers for number in some)]

        async def arrived() -> bool:
            return (await stored(redis, stream))[0] == expected[: 1 + records]

        sends = []
        for some in numbers:
            items = [Item(key=0, number=number) for number in some]
            sends.append(asyncio.create_task(stream.send(*items)))
        await until(arrived, "the first send has not reached the server")
        sends[0].cancel()
        await asyncio.sleep(0.05)
        assert (await stored(redis, stream))[0] == expected[: 1 + records]
        proxy.heal()
        await asyncio.gather(*sends, return_exceptions=True)
    assert (await stored(redis, stream))[0] == expected


@pytest.mark.only_on("server")  # Because of the proxy.
async def test_a_mismatch_fails_every_send_and_is_checked_again_by_the_next_one(
    redis: Redis, proxy: Proxy, app_name: str
) -> None:
    app, stream = declare(app_name, proxy.url)
    async with app:
        await stream.send(Item(key=0, number=0))
    grown, other = declare(app_name, proxy.url, 64)

    async def refused(work: Awaitable[Any]) -> None:
        with pytest.raises(Mismatch, match="stored=4 given=64"):
            await work

    async with grown:
        proxy.lose_reply_to(sha("declare").encode())
        sends = [other.send(Item(key=i % 3, number=i)) for i in range(50)]
        sends.append(other.send(*(Item(key=i, number=i) for i in range(20))))
        await asyncio.gather(*map(refused, sends))
        assert proxy.requests == 2
        await redis.flushall()
        await other.send(Item(key=0, number=0))


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
        await refused(*(Item(key=i, number=i) for i in range(20)))


async def test_a_caller_after_an_abandoned_run_starts_a_new_one() -> None:
    single_flight, started = SingleFlight(), []

    async def work() -> None:
        started.append(asyncio.current_task())
        await asyncio.sleep(3600 if len(started) == 1 else 0)

    waiting = [asyncio.create_task(single_flight.run("name", work)) for _ in range(3)]
    await asyncio.sleep(0)
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    await asyncio.gather(*(single_flight.run("name", work) for _ in range(3)))
    assert len(started) == 2
    assert started[0] is not None
    assert started[0].cancelled()
