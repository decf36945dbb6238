"""Every way to send is told, with headers that arrive, and without another outcome."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Record, RecordTooLarge, Stream
from runnel.producer.observed_producer import ObservedProducer
from tests.unit.test_observer import Sends
from tests.worker.workers import until


class Item(Record):
    number: int


WAYS: dict[str, Callable[[App, Stream[Item]], Awaitable[Any]]] = {
    "one": lambda app, items: items.send(Item(number=1)),
    "many": lambda app, items: items.send(*[Item(number=each) for each in range(3)]),
    "once": lambda app, items: items.send(Item(number=1), dedupe="key"),
    "later": lambda app, items: items.send(Item(number=1), delay=0.001),
    "numbered": lambda app, items: app.producer(id="one").send(items, Item(number=1), number=1),
}


@pytest.fixture
def app(redis: Redis, redis_url: str, app_name: str) -> App:
    return App(app_name, redis_url=redis_url)


@pytest.mark.parametrize("way", WAYS)
async def test_a_send_is_told_and_its_headers_arrive(redis: Redis, app: App, way: str) -> None:
    sends = Sends()
    app.observe(sends)
    items = app.stream("items", record=Item, partition_by="number", partition_count=1)
    seen: list[dict[str, str]] = []

    @app.processor(items)
    async def note(events: Any) -> None:
        async for event in events:
            seen.append(event.headers)  # noqa: PERF401

    async with app.worker():
        await WAYS[way](app, items)
        await items.send(Item(number=9), headers={"own": "1"})
        expected = 4 if way == "many" else 2
        await until(lambda: len(seen) == expected, "all have arrived")
    assert sorted(map(len, seen)) == [1] * (expected - 1) + [2]
    assert {"seen": "yes"} in seen
    assert {"own": "1", "seen": "yes"} in seen
    (sent, error), _ = sends.ends
    assert error is None
    assert len(sent) == (3 if way == "many" else 1)
    await app.close()


async def test_an_error_is_told_and_raised(app: App) -> None:
    sends = Sends()
    app.observe(sends)
    app.configure(max_record_bytes=1)
    items = app.stream("items", record=Item, partition_by="number")
    with pytest.raises(RecordTooLarge):
        await items.send(Item(number=1))
    ((sent, error),) = sends.ends
    assert isinstance(error, RecordTooLarge)
    assert isinstance(app.producer(), ObservedProducer)
    assert not sent
    await app.close()
