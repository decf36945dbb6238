"""What a worker counts is what has happened, for every way to process an event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetterMiddleware, Event, Events, ExceptionPolicy, Record, Stream
from runnel.metrics import tally
from runnel.metrics.counting import Counting
from runnel.metrics.tally import Counter, Family, Histogram
from tests.worker.workers import until

FAILING = 3


class Item(Record):
    number: int


class Shop:
    """An app with one partition, and what is counted of it."""

    def __init__(self, name: str, url: str) -> None:
        self.app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.001)
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="number", partition_count=1
        )
        self.counting = Counting()
        self.app.observe(self.counting)
        self.failures = 0

    async def do(self, item: Item) -> None:
        """What each handler does with an item."""
        if item.number == FAILING and self.failures:
            self.failures -= 1
            raise ValueError("on purpose")

    async def process(self, *numbers: int) -> None:
        """Send items, process them, and close."""
        await self.items.send(*[Item(number=each) for each in numbers])
        await self.app.run(burst=True)
        await self.app.close()

    def counter(self, family: Family, label: str) -> float:
        """The counter of the processor with this last label."""
        found: Counter = self.counting.tally.counter(family, self.app.name, "work", label)
        return found.value

    def histogram(self, family: Family) -> Histogram:
        """The histogram of the processor."""
        return self.counting.tally.histogram(family, self.app.name, "work")


@pytest.fixture
def shop(redis: Redis, redis_url: str, app_name: str) -> Shop:
    return Shop(app_name, redis_url)


def by_events(shop: Shop, **options: Any) -> None:
    @shop.app.processor(shop.items, name="work", **options)
    async def work(events: Events[Item]) -> None:
        async for event in events:
            await shop.do(event.record)


def by_lists(shop: Shop, **options: Any) -> None:
    @shop.app.processor(shop.items, name="work", **options)
    async def work(events: Events[Item]) -> None:
        async for batch in events.take(4).records():
            for each in batch:
                await shop.do(each)


def one(shop: Shop, **options: Any) -> None:
    @shop.app.on(shop.items, name="work", **options)
    async def work(item: Item, event: Event[Item]) -> None:
        await shop.do(item)


def beside(shop: Shop, **options: Any) -> None:
    one(shop, concurrency=5, **options)


def in_threads(shop: Shop, **options: Any) -> None:
    @shop.app.on(shop.items, name="work", **options)
    def work(item: Item) -> None:
        asyncio.run(shop.do(item))


KINDS = pytest.mark.parametrize("declare", [by_events, by_lists, one, beside, in_threads])
Declare = Callable[..., None]


@KINDS
async def test_each_event_is_counted_once_however_it_is_processed(
    shop: Shop, declare: Declare
) -> None:
    declare(shop)
    shop.failures = 2
    await shop.process(*range(20))
    assert shop.counter(tally.PROCESSED, "ok") == 20
    assert shop.counter(tally.FAILURES, "retry") == 2
    assert sum(shop.histogram(tally.LATENCY).counts) == 20
    assert sum(shop.histogram(tally.PROCESS_SECONDS).counts) == 22
    assert shop.histogram(tally.COMMIT_SIZE).sum == 20
    commits = sum(shop.histogram(tally.COMMIT_SIZE).counts)
    assert sum(shop.histogram(tally.COMMIT_SECONDS).counts) == commits >= 1
    lists = shop.histogram(tally.BATCH_SIZE).sum
    assert (lists > 0) == (declare is by_lists)


@pytest.mark.parametrize("declare", [by_events, beside])
@pytest.mark.parametrize(
    ("policy", "middleware", "result"),
    [
        (ExceptionPolicy.IGNORE, [], "skipped"),
        (ExceptionPolicy.IGNORE, [DeadLetterMiddleware()], "dead_letter"),
        (ExceptionPolicy.PARK, [], "parked"),
        (ExceptionPolicy.RETRY_LATER, [], "parked"),
    ],
)
async def test_an_event_that_was_given_up_does_not_count_as_ok(
    shop: Shop, declare: Declare, policy: ExceptionPolicy, middleware: list[Any], result: str
) -> None:
    declare(shop, exception_policy=policy, retries=0, middleware=middleware)
    shop.failures = 9
    await shop.process(*range(6))
    assert shop.counter(tally.PROCESSED, result) == 1
    assert shop.counter(tally.PROCESSED, "ok") == 5
    assert shop.counter(tally.FAILURES, "give_up") == 1


async def test_what_was_not_committed_was_not_processed(shop: Shop, redis: Redis) -> None:
    """The lease is taken away while the handler has the event."""
    key = f"runnel:{{{shop.app.name}:items:0}}:items:processor:work"
    taken, checked = asyncio.Event(), asyncio.Event()
    #: A repeated claim may be refused before the commit.
    words = ("FENCED", "STALE_GRANT")

    @shop.app.processor(shop.items, name="work")
    async def work(events: Events[Item]) -> None:
        async for _ in events:
            if taken.is_set():
                await checked.wait()
            else:
                await redis.hset(key, mapping={"nonce": "of another", "epoch": "99"})
                taken.set()

    def lost() -> float:
        return sum(shop.counter(tally.LEASES_LOST, each) for each in words)

    async with shop.app.worker():
        await shop.items.send(Item(number=1))
        await until(lost, "it was refused")
        assert shop.counter(tally.PROCESSED, "ok") == 0
        checked.set()
        await until(lambda: shop.counter(tally.PROCESSED, "ok"), "it was processed again")
    calls = [row for row in shop.counting.tally.rows() if row[0] == tally.SCRIPT_CALLS.name]
    assert sum(count for *_, code, count in calls if code in words) >= lost() == 1
    await shop.app.close()


async def test_the_handler_time_is_that_of_the_handler_and_not_of_its_wait(shop: Shop) -> None:
    seen = asyncio.Event()

    @shop.app.processor(shop.items, name="work")
    async def work(events: Events[Item]) -> None:
        async for _ in events:
            await asyncio.sleep(0.03)
            seen.set()

    async with shop.app.worker():
        for each in range(3):
            await asyncio.sleep(0.2)
            seen.clear()
            await shop.items.send(Item(number=each))
            await seen.wait()
    histogram = shop.histogram(tally.PROCESS_SECONDS)
    assert sum(histogram.counts) == 3
    assert histogram.sum >= 0.09
    assert histogram.counts[-6:] == [0] * 6, "it did not count its wait"
    await shop.app.close()


async def test_sends_are_counted_with_their_failures(shop: Shop) -> None:
    await shop.items.send(*[Item(number=each) for each in range(3)])
    await shop.app.producer(id="import").send(shop.items, Item(number=1), number=1)
    await shop.items.send(Item(number=1), delay=3600)
    await shop.items.send(Item(number=1), dedupe="once")
    with pytest.raises(Exception, match="must be"):
        await shop.items.send(Item(number=1), headers={"a": 1})  # type: ignore[dict-item]
    found = {(name, *labels): numbers for name, *labels, numbers in shop.counting.tally.rows()}
    to = (shop.app.name, "items")
    assert found[tally.SENT.name, *to] == 6
    assert found[tally.SEND_FAILURES.name, *to, "EncodeError"] == 1
    assert sum(found[tally.SEND_SECONDS.name, *to][:-1]) == 4
    assert found[tally.SCRIPT_CALLS.name, "append", "OK"] == 1
    await shop.app.close()
