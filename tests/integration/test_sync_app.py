"""An app for code without an event loop: it sends, reads, numbers, and closes what it opened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from runnel import App, ConfigError, Full, LoopRunning, Record
from runnel.worker.worker import Worker
from tests.worker.workers import until


class Item(Record):
    key: str
    number: int


def test_it_sends_and_reads(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
    items = app.stream("items", record=Item, partition_by="key")
    totals = app.table("totals", items, value=int, default=0)

    @app.on(items)
    async def count(item: Item) -> None:
        totals[item.key] += item.number

    with app.sync() as sync:
        sent = sync.send(
            items, Item(key="a", number=1), Item(key="b", number=2), headers={"x": "1"}
        )
        assert len(sent) == 2
        (first,) = sync.send(items, Item(key="a", number=4), dedupe="once")
        assert sync.send(items, Item(key="a", number=4), dedupe="once") == [first]
        asyncio.run(Worker(app).run(burst=True))
        assert sync.read(totals, "a") == 5
        assert sync.read_many(totals, iter(["a", "b", "c"])) == {"a": 5, "b": 2, "c": 0}
        assert sync.read(totals, "a", of="b") in (0, 5)


def test_a_numbered_producer_sends_each_number_once(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="key")
    with app.sync() as sync:
        producer = sync.producer(id="import")
        assert producer.id == "import"
        assert producer.last(items) is None
        (sent,) = producer.send(items, Item(key="a", number=1), number=17)
        assert sent is not None
        assert producer.last(items) == 17
        with pytest.raises(ConfigError, match="number 16 comes after 17"):
            producer.send(items, Item(key="a", number=1), number=16)
        again = sync.producer(id="import")
        assert again.send(items, Item(key="a", number=1), number=17) == [None]
        with pytest.raises(ConfigError):
            sync.producer(id="no name")


def test_its_errors_are_those_of_send(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="key")
    with app.sync() as sync, pytest.raises(ConfigError, match="wait"):
        sync.send(items, Item(key="a", number=1), wait="long")  # type: ignore[call-overload]


async def test_it_closes_its_connections_and_opens_new_ones(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="key")
    sync = app.sync()

    def work() -> None:
        with sync:
            sync.send(items, Item(key="a", number=1))

    for _ in range(2):
        await asyncio.to_thread(work)
        await until(lambda: not app._producers._made, "the connections stay open")
    await asyncio.to_thread(items.send_sync, Item(key="a", number=1))
    assert len(app._producers._made) == 1
    await app.close()
    assert not app._producers._made


def test_threads_send_while_another_one_closes(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="key")
    errors: list[BaseException] = []

    def some(name: str) -> None:
        try:
            for number in range(50):
                items.send_sync(Item(key=name, number=number), Item(key="b", number=number))
        except BaseException as error:
            errors.append(error)

    sending = [threading.Thread(target=some, args=(str(each),)) for each in range(4)]
    for each in sending:
        each.start()
    while any(each.is_alive() for each in sending):
        app.sync().close()
    app.sync().close()
    assert not errors


async def test_where_an_event_loop_runs_each_call_says_what_to_await(app_name: str) -> None:
    app = App(app_name)
    items = app.stream("items", record=Item, partition_by="key")
    totals = app.table("totals", items, value=int)
    sync = app.sync()
    producer = sync.producer(id="import")
    item = Item(key="a", number=1)
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: sync.send(items, item), r"items\.send"),
        (lambda: sync.read(totals, "a"), r"totals\.read\("),
        (lambda: sync.read_many(totals, ["a"]), r"totals\.read_many"),
        (lambda: producer.send(items, item, number=1), r"producer\.send"),
        (lambda: producer.last(items), r"producer\.last"),
        (sync.close, r"app\.close\(\)"),
        (sync.__enter__, r"with app:` and `await stream\.send"),
    ]
    for call, instead in calls:
        with pytest.raises(LoopRunning, match=rf"use `(await|async) {instead}"):
            call()


def test_full_is_raised_as_by_send(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream(
        "items", record=Item, partition_by=lambda _: 0, partition_count=1, partition_size=2
    )

    @app.on(items)
    async def work(item: Item) -> None:
        pass

    async def register() -> None:
        async with app:
            await items.send(Item(key="a", number=1))
            await Worker(app).run(burst=True)

    asyncio.run(register())
    with app.sync() as sync:
        with pytest.raises(Full, match="work has not committed") as raised:
            sync.send(items, *5 * [Item(key="a", number=1)])
        assert raised.value.sent[0] is not None
        assert raised.value.sent[-1] is None


def test_what_is_sent_for_later_waits_and_can_be_cancelled(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="key")
    with app.sync() as sync:
        (first,) = sync.send(items, Item(key="a", number=1), delay=3600, dedupe="one")
        (again,) = items.send_sync(Item(key="a", number=1), delay=timedelta(hours=1), dedupe="one")
        assert first == again
        (second,) = items.send_sync(Item(key="b", number=2), at=datetime.now(UTC))
        assert second.due < first.due
        assert (sync.cancel(items, first), items.cancel_sync(first)) == (True, False)
        with pytest.raises(ConfigError, match="at=… or delay=…, not both"):
            items.send_sync(Item(key="a", number=1), at=datetime.now(UTC), delay=1)  # type: ignore[call-overload]


def test_a_numbered_producer_takes_no_time(redis_url: str, app_name: str) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="key")
    with app.sync() as sync:
        producer = sync.producer(id="till")
        with pytest.raises(ConfigError, match=r"send\(…\) takes no delay=….*dedupe=…"):
            producer.send(items, Item(key="a", number=1), number=1, delay=5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="unexpected keyword argument 'dely'"):
            producer.send(items, Item(key="a", number=1), number=1, dely=5)  # type: ignore[arg-type]
        assert producer.last(items) is None


async def test_an_emit_takes_no_time(app_name: str) -> None:
    items = App(app_name).stream("items", record=Item, partition_by="key")
    for options in ({"at": datetime.now(UTC)}, {"delay": 5}):
        (name,) = options
        said = rf"emit\(…\) takes no {name}=….*`await items.send\(…, delay=…\)`"
        with pytest.raises(ConfigError, match=said):
            items.emit(Item(key="a", number=1), **options)
