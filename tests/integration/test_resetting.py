"""What a new start repeats and skips is counted before it is set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Record
from runnel.operations import admin
from runnel.operations.resetting import Effect, effects
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

EVENTS, PROCESSED = 5, 3


class Order(Record):
    id: int


@pytest.fixture
async def work(redis: Redis, redis_url: str, app_name: str, scripts: Scripts) -> Processor:
    """Has processed some of the events of partition 0, and there are none on partition 1."""
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=2)

    @app.on(orders)
    async def bill(order: Order) -> None:
        """A handler."""

    processor = app.processors["bill"]
    await admin.add(scripts, processor)
    await orders.send(*(Order(id=0) for _ in range(EVENTS)))
    await admin.reset(scripts, processor, (await ids(redis, processor))[PROCESSED], [0])
    return processor


async def ids(redis: Redis, processor: Processor) -> Sequence[str]:
    entries: list[tuple[bytes, Any]] = await redis.xrange(processor.keys(0).log)  # type: ignore[assignment]
    return [id_.decode() for id_, _ in entries]


async def test_at_an_end_of_the_log(scripts: Scripts, work: Processor) -> None:
    assert await effects(scripts, work, "0", [0, 1]) == [Effect(PROCESSED, 0), Effect(0, 0)]
    left = EVENTS - PROCESSED
    assert await effects(scripts, work, "$", [0, 1]) == [Effect(0, left), Effect(0, 0)]


@pytest.mark.parametrize("at", range(EVENTS))
async def test_at_an_event(redis: Redis, scripts: Scripts, work: Processor, at: int) -> None:
    start = (await ids(redis, work))[at]
    expected = Effect(max(0, PROCESSED - at), max(0, at - PROCESSED))
    assert await effects(scripts, work, start, [0, 1]) == [expected, Effect(0, 0)]
    await admin.reset(scripts, work, start)
    assert await effects(scripts, work, "$", [0]) == [Effect(0, EVENTS - at)]


async def test_before_and_after_all_events(scripts: Scripts, work: Processor) -> None:
    assert await effects(scripts, work, "1-0", [0]) == [Effect(PROCESSED, 0)]
    later = "99999999999999-0"
    assert await effects(scripts, work, later, [0, 1]) == [
        Effect(0, EVENTS - PROCESSED),
        Effect(0, 0),
    ]


@pytest.mark.parametrize(
    ("start", "expected"),
    [("0", Effect(None, 0)), ("$", Effect(0, None)), ("1-0", Effect(None, None))],
)
async def test_where_it_is_not_registered_nobody_knows(
    redis: Redis, scripts: Scripts, work: Processor, start: str, expected: Effect
) -> None:
    await redis.hdel(work.keys(0).meta, "checkpoint:bill")
    await redis.delete(work.keys(0).state)
    assert await effects(scripts, work, start, [0]) == [expected]
