"""Full partitions: which sends are refused, which wait, in what order, and what was sent before."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Events, Record, Stream
from runnel.errors import Full
from runnel.keys import log
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.stream import Sent
from runnel.worker.worker import Worker
from tests.worker import inside
from tests.worker.workers import until

SIZE = 6


class Item(Record):
    partition: int
    number: int


class Shop:
    """A stream of two small partitions, which stay full until its one processor works."""

    def __init__(self, redis: Redis, url: str, name: str) -> None:
        self.redis = redis
        self.app, self.stream = self._declare(name, url)
        #: The worker has an app of its own, as in another process, since it closes the producer.
        self.worker, stream = self._declare(name, url)
        #: One key for each partition.
        self.keys = [
            next(key for key in range(100) if self.partition_of(key) == partition)
            for partition in (0, 1)
        ]
        self.processed: list[int] = []

        @self.worker.processor(stream)
        async def work(events: Events[Item]) -> None:
            async for item in events.records():
                self.processed.append(item.number)

    def _declare(self, name: str, url: str) -> tuple[App, Stream[Item]]:
        app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.001)
        stream = app.stream(
            "items",
            record=Item,
            partition_by=lambda item: self.keys[item.partition],
            partition_count=2,
            partition_size=SIZE,
        )
        return app, stream

    def partition_of(self, key: int) -> int:
        return self.stream.spec.hasher(str(key).encode()) % 2

    async def fill(self, partition: int = 0) -> None:
        """Register the processor, and fill a partition."""
        await admin.add(Scripts(self.redis), self.worker.processors["work"])
        await self.stream.send(*(Item(partition=partition, number=-1) for _ in range(SIZE)))

    async def work(self) -> None:
        """Process everything that was sent."""
        await Worker(self.worker).run(burst=True)

    async def numbers(self, partition: int = 0) -> list[int]:
        """The numbers in the log of a partition."""
        found: Any = await self.redis.xrange(log(self.stream.spec.prefix(partition)))
        return [
            self.stream.spec.codec.decode([each for pair in fields.items() for each in pair]).number
            for _, fields in found
        ]


@pytest.fixture
async def shop(redis: Redis, redis_url: str, app_name: str) -> Any:
    shop = Shop(redis, redis_url, app_name)
    yield shop
    await shop.app.close()


def item(number: int, partition: int = 0) -> Item:
    return Item(partition=partition, number=number)


async def test_an_error_lists_what_was_sent_before_it(shop: Shop) -> None:
    await shop.fill()
    records = [item(number, number % 2) for number in range(4)]
    with pytest.raises(Full, match="partition 0 is full") as raised:
        await shop.stream.send(*records)
    assert [each is not None for each in raised.value.sent] == [False, True, False, True]
    assert await shop.numbers(1) == [1, 3]
    last = raised.value.sent[3]
    assert isinstance(last, Sent)
    assert last.partition == 1
    with pytest.raises(Full) as alone:
        await shop.stream.send(item(5))
    assert alone.value.sent == [None]


async def test_of_many_batches_for_one_partition_the_first_may_be_sent(
    shop: Shop,
) -> None:
    await admin.add(Scripts(shop.redis), shop.worker.processors["work"])
    with pytest.raises(Full) as raised:
        await shop.stream.send(*(item(number) for number in range(2 * SIZE)))
    count = len(await shop.numbers())
    assert 0 < count <= SIZE
    assert [each is not None for each in raised.value.sent] == [
        number < count for number in range(2 * SIZE)
    ]


async def test_a_cancelled_send_says_what_was_sent(shop: Shop) -> None:
    await shop.fill()
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(0.2):
            await shop.stream.send(item(1), item(2, 1), wait=True)
    sent = vars(raised.value.__cause__)["sent"]
    assert [each is not None for each in sent] == [False, True]


async def test_a_send_that_waits_for_room_does_not_block_those_that_do_not_wait(shop: Shop) -> None:
    await shop.fill()
    waiting = asyncio.create_task(shop.stream.send(item(1), wait=True))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        for records in ([item(2)], [item(3), item(4)]):
            with pytest.raises(Full):
                await shop.stream.send(*records)
        outcomes = await asyncio.gather(
            *(shop.stream.send(item(number)) for number in range(10, 40)), return_exceptions=True
        )
        assert {type(each) for each in outcomes} == {Full}
        assert len({id(each) for each in outcomes}) == 30
        await shop.stream.send(item(5), drop_oldest=True)
        assert not waiting.done()
        await shop.stream.send(item(6, 1))  # Another partition.
    waiting.cancel()
    await asyncio.wait([waiting])
    assert await shop.numbers() == [*(SIZE - 1) * [-1], 5]


async def test_a_waiting_send_does_not_get_the_result_of_one_that_drops_the_oldest(
    shop: Shop,
) -> None:
    await shop.fill()
    waiting = asyncio.create_task(shop.stream.send(item(1), wait=True))
    await asyncio.sleep(0.05)
    dropped = [(await shop.stream.send(item(number), drop_oldest=True))[0] for number in (2, 3)]
    await shop.work()
    await shop.stream.send(item(4), wait=True)
    (sent,) = await waiting
    assert sent not in dropped
    assert [number for number in await shop.numbers() if number >= 0] == [2, 3, 1, 4]


async def test_the_wait_is_measured_from_the_call(shop: Shop) -> None:
    await shop.fill()
    now = asyncio.get_running_loop().time
    first = asyncio.create_task(shop.stream.send(item(1), wait=True))
    await asyncio.sleep(0.01)
    began = now()

    async def waits(seconds: float) -> float:
        with pytest.raises(Full):
            await shop.stream.send(item(2), wait=seconds)
        return now() - began

    async with asyncio.timeout(10):
        took = await asyncio.gather(*(waits(seconds) for seconds in (0.5, 0.3, 0.1)))
    for seconds, taken in zip((0.5, 0.3, 0.1), took, strict=True):
        assert seconds <= taken
    assert took[2] < took[1] < took[0]
    first.cancel()
    await asyncio.wait([first])


async def test_waiting_sends_get_room_in_the_order_of_their_calls(shop: Shop) -> None:
    await shop.fill()
    waiting = []
    for number in range(4):
        waiting.append(asyncio.create_task(shop.stream.send(item(number), wait=True)))
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await shop.stream.send(item(99))
    waiting[1].cancel()
    await shop.work()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert [number for number in await shop.numbers() if number >= 0] == [0, 2, 3]


async def test_a_waiting_send_of_many_batches_sends_them_in_order(shop: Shop) -> None:
    await shop.fill()
    numbers = list(range(5 * SIZE))
    sending = asyncio.create_task(shop.stream.send(*map(item, numbers), wait=True))
    dropping = [asyncio.create_task(shop.stream.send(item(-2), drop_oldest=True))]

    async def is_sent() -> bool:
        await shop.work()
        return sending.done()

    await until(is_sent, "the send does not finish")
    sent = await sending
    await asyncio.gather(*dropping)
    await shop.work()
    assert [each for each in shop.processed if each >= 0] == numbers
    assert [each.partition for each in sent] == len(numbers) * [0]


async def test_s4_a_full_partition_refuses_by_name_and_trims_nothing_unprocessed(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = inside.Ledger(app_name, redis_url, partition_size=50)
    gate = asyncio.Event()

    async def gated(events: Events[inside.Item]) -> None:
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
