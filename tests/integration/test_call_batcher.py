"""Calls of one moment share round trips. A call whose caller was cancelled still ends before what
is sent next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import App, Record, keys
from runnel.connection.connect import connect
from runnel.connection.durability import AckRequirement
from runnel.errors import Mismatch
from runnel.producer.call_batcher import MAX_CALLS, CallBatcher
from runnel.protocol import Appends, appended_id
from runnel.protocol.scripts import Call, Scripts
from tests.integration.sends import declare, items, stored
from tests.proxy import Proxy
from tests.servers import Server
from tests.worker.workers import until

pytestmark = pytest.mark.only_on("server", "sentinel")  # A cluster has a round trip to each master.


class Numbered(Record):
    number: int


class Calls(Scripts):
    """Real calls. Notes what shares a round trip, and sends nothing while `free` is not set."""

    def __init__(self, client: Redis, app: App, partitions: int = MAX_CALLS + 1) -> None:
        super().__init__(client)
        self.spec = app.stream(
            "items", record=Numbered, partition_by="number", partition_count=partitions
        ).spec
        self.round_trips: list[list[Call]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def call_all(self, calls: Sequence[Call], ack: AckRequirement | None = None) -> list[Any]:
        self.round_trips.append(list(calls))
        await self.free.wait()
        return await super().call_all(calls, ack)

    def append(self, partition: int) -> Call:
        """The first append to a partition."""
        entry = self.spec.codec.encode(Numbered(number=partition))
        appends = Appends(self.spec.prefix(partition), self.spec.contract, 1000)
        return appends.call("refuse", "producer", 1, [entry])

    async def ids(self, partition: int) -> list[str]:
        found: Any = await self.client.xrange(keys.log(self.spec.prefix(partition)))
        return [id_.decode() for id_, _ in found]


@pytest.fixture
def calls(redis: Redis, app_name: str) -> Calls:
    return Calls(redis, App(app_name))


@pytest.fixture
def batcher(calls: Calls) -> CallBatcher:
    return CallBatcher(calls, None)


async def under_way(calls: Calls, number: int) -> None:
    """So many round trips have begun."""
    await until(lambda: len(calls.round_trips) == number, f"{number} round trips")


async def test_calls_of_one_moment_share_a_round_trip_and_each_gets_its_own_reply(
    calls: Calls, batcher: CallBatcher
) -> None:
    partitions = range(MAX_CALLS + 1)
    replies = await asyncio.gather(*(batcher.call(calls.append(each)) for each in partitions))
    assert [len(each) for each in calls.round_trips] == [MAX_CALLS, 1]
    for partition in partitions:
        assert await calls.ids(partition) == [appended_id(replies[partition])]


async def test_a_call_during_a_round_trip_does_not_wait_for_it(
    calls: Calls, batcher: CallBatcher
) -> None:
    calls.free.clear()
    first = asyncio.create_task(batcher.call(calls.append(0)))
    await under_way(calls, 1)
    second = asyncio.create_task(batcher.call(calls.append(1)))
    await under_way(calls, 2)
    calls.free.set()
    await asyncio.gather(first, second)


async def test_each_server_has_round_trips_of_its_own(
    calls: Calls, batcher: CallBatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_0 = calls.append(0).keys[0]
    monkeypatch.setattr(calls.deployment, "node_of", lambda key: key == of_0)
    await asyncio.gather(*(batcher.call(calls.append(each)) for each in range(3)))
    sent = [[call.keys[0] for call in each] for each in calls.round_trips]
    assert sent == [[of_0], [calls.append(each).keys[0] for each in (1, 2)]]


async def test_a_refusal_fails_its_own_call_only(
    redis: Redis, app_name: str, calls: Calls, batcher: CallBatcher
) -> None:
    grown = Calls(redis, App(app_name), partitions=64)
    wanted = (calls.append(0), grown.append(0), calls.append(1))
    outcomes: list[Any] = await asyncio.gather(*map(batcher.call, wanted), return_exceptions=True)
    first, refused, last = outcomes
    assert isinstance(refused, Mismatch)
    assert len(calls.round_trips) == 1
    assert [await calls.ids(0), await calls.ids(1)] == [[appended_id(first)], [appended_id(last)]]


async def test_a_lost_connection_fails_each_call_with_an_error_of_its_own(
    server: Server, app_name: str
) -> None:
    server.kill()
    async with connect(server.url) as client:
        calls = Calls(client, App(app_name))
        batcher = CallBatcher(calls, None)
        errors = await asyncio.gather(
            *(batcher.call(calls.append(each)) for each in range(3)), return_exceptions=True
        )
    assert {type(each) for each in errors} == {ConnectionError}
    assert len({id(each) for each in errors}) == 3


async def test_a_call_that_is_cancelled_before_it_is_sent_is_left_out(
    calls: Calls, batcher: CallBatcher
) -> None:
    tasks = [asyncio.create_task(batcher.call(calls.append(each))) for each in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)
    assert calls.round_trips == [[calls.append(0), calls.append(2)]]
    assert await calls.ids(1) == []
    alone = asyncio.create_task(batcher.call(calls.append(1)))
    await asyncio.sleep(0)
    alone.cancel()
    await asyncio.wait([alone])
    await batcher.wait_for_orphans()
    assert len(calls.round_trips) == 1, "nobody wanted another one"


async def test_the_call_of_a_cancelled_caller_is_waited_for(
    calls: Calls, batcher: CallBatcher
) -> None:
    calls.free.clear()
    sending = asyncio.create_task(batcher.call(calls.append(0)))
    await under_way(calls, 1)
    sending.cancel()
    await asyncio.wait([sending])
    waiting = asyncio.create_task(batcher.wait_for_orphans())
    await asyncio.wait([waiting], timeout=0.01)
    assert not waiting.done()
    calls.free.set()
    await waiting
    assert len(await calls.ids(0)) == 1


async def test_close_cancels_what_nobody_waits_for(calls: Calls, batcher: CallBatcher) -> None:
    calls.free.clear()
    sends = [asyncio.create_task(batcher.call(calls.append(each))) for each in range(2)]
    await under_way(calls, 1)
    for each in sends:
        each.cancel()
    await asyncio.wait(sends)
    async with asyncio.timeout(10):
        await batcher.close()
        await batcher.wait_for_orphans()
    assert [await calls.ids(0), await calls.ids(1)] == [[], []]


@pytest.fixture
async def proxy(redis: Redis, redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


@pytest.mark.fault(52)
@pytest.mark.only_on("server")  # Because of the proxy.
@pytest.mark.parametrize("records", [1, 2], ids=["alone", "among others"])
async def test_nothing_is_sent_while_a_cancelled_one_is_under_way(
    redis: Redis, proxy: Proxy, app_name: str, records: int
) -> None:
    app, stream = declare(app_name, proxy.url)
    async with app:
        await stream.send(*items(0))
        proxy.hold("replies")
        numbers = [[10 * i + n for n in range(records)] for i in range(1, 5)]
        expected = [0, *(number for some in numbers for number in some)]

        async def arrived() -> bool:
            return (await stored(redis, stream))[0] == expected[: 1 + records]

        sends = [asyncio.create_task(stream.send(*items(*some))) for some in numbers]
        await until(arrived, "the first send has not reached the server")
        sends[0].cancel()
        await asyncio.sleep(0.05)
        assert (await stored(redis, stream))[0] == expected[: 1 + records]
        proxy.heal()
        await asyncio.gather(*sends, return_exceptions=True)
    assert (await stored(redis, stream))[0] == expected


@pytest.mark.only_on("server")  # Because of the proxy.
async def test_close_finishes_the_sends_that_run_beside_a_cancelled_one(
    redis: Redis, proxy: Proxy, app_name: str
) -> None:
    app = App(app_name, redis_url=proxy.url)
    stream = app.stream("items", record=Numbered, partition_by="number", partition_count=8)
    of_each = {stream.spec.partition(Numbered(number=n)): Numbered(number=n) for n in range(200)}
    pairs = [(of_each[p], of_each[p + 4]) for p in range(4)]
    for pair in pairs:
        await stream.send(*pair)
    logs = [keys.log(stream.spec.prefix(p)) for p in range(8)]

    async def arrived() -> bool:
        return sum([await redis.xlen(log) for log in logs]) == 4 * len(pairs)

    proxy.hold("replies")
    sends = [asyncio.create_task(stream.send(*pair)) for pair in pairs]
    await until(arrived, "the sends have not reached the server")
    sends[0].cancel()
    await asyncio.wait(sends[:1])
    await app.close()
    proxy.heal()
    _, waiting = await asyncio.wait(sends, timeout=20)
    assert not waiting
    assert [len(each.result()) for each in sends[1:]] == [2, 2, 2]
