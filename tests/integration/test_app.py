"""Handlers, middleware, dead letters and sending, as users write them, on the shared server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetterMiddleware, Events, ExceptionPolicy, Middleware, Record, Stream
from runnel.errors import ConfigError, Mismatch, PartitionKeyError, RecordTooLarge
from runnel.keys import log
from runnel.protocol.scripts import sha
from runnel.worker.worker import Worker
from tests.primaries import every_key
from tests.proxy import Proxy


class Item(Record):
    key: str
    number: int


def declare(name: str, url: str, **options: Any) -> tuple[App, Stream[Item]]:
    app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.001, **options)
    return app, app.stream("items", record=Item, partition_by="key", partition_count=2)


def items(*numbers: int) -> list[Item]:
    return [Item(key="k", number=number) for number in numbers]


def keyed(*numbers: int) -> list[Item]:
    return [Item(key=str(number), number=number) for number in numbers]


async def burst(app: App) -> None:
    """Run a worker until everything is processed."""
    await Worker(app).run(burst=True)


async def test_the_short_form_runs_async_functions_and_plain_ones_in_threads(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    seen: dict[str, list[int]] = {"plain": [], "coroutine": []}
    threads = set()

    @app.on(stream)
    def plain(item: Item) -> None:
        threads.add(threading.current_thread())
        seen["plain"].append(item.number)

    @app.on(stream)
    async def coroutine(item: Item) -> None:
        seen["coroutine"].append(item.number)

    await stream.send(*items(1, 2, 3))
    await burst(app)
    assert seen == {"plain": [1, 2, 3], "coroutine": [1, 2, 3]}
    assert threading.main_thread() not in threads


async def test_middleware_sees_each_event_before_and_after_and_its_failure(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    seen: list[str] = []

    class Watch(Middleware):
        async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for event in parent:
                number = event.record.number
                seen.append(f"before {number}")
                try:
                    yield event
                except ValueError:
                    seen.append(f"failed {number}")
                    raise
                seen.append(f"after {number}")

    @app.processor(stream, middleware=[Watch()], retries=0, exception_policy=ExceptionPolicy.IGNORE)
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            seen.append(f"during {item.number}")
            if item.number == 2:
                raise ValueError("two")

    await stream.send(*items(1, 2, 3))
    await burst(app)
    assert seen == [
        *("before 1", "during 1", "after 1"),
        *("before 2", "during 2", "failed 2"),
        *("before 3", "during 3", "after 3"),
    ]


async def test_another_processor_reads_the_dead_letters(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    rescued: list[int] = []

    @app.processor(
        stream,
        middleware=[DeadLetterMiddleware()],
        retries=0,
        exception_policy=ExceptionPolicy.IGNORE,
    )
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number % 2:
                raise ValueError("odd")

    dead = app.streams["items.work.dead"]

    @app.processor(dead)
    async def rescue(events: Events[Any]) -> None:
        async for dead_letter in events.records():
            assert dead_letter.error_type == "ValueError"
            rescued.append(stream.spec.codec.decode(dead_letter.fields).number)

    await stream.send(*items(*range(6)))
    await burst(app)
    await burst(app)
    assert rescued == [1, 3, 5]
    with pytest.raises(ConfigError, match="derived"):
        await dead.send(None)
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
    entries = await redis.xrange(log(stream.spec.prefix(sent[0].partition)))
    assert entries is not None
    assert len(entries) == 3
    assert [id_.decode() for id_, _ in entries[1:]] == [each.id for each in sent]  # type: ignore[union-attr]


@pytest.mark.only_on("server", "sentinel")  # A cluster has one connection to each master.
async def test_a_send_to_many_partitions_uses_one_connection(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    partitions = {each.partition for each in await stream.send(*keyed(*range(100)))}
    assert len(partitions) == stream.spec.partition_count > 1
    assert app.producer()._scripts.deployment.client.connections_made == 1
    await app.close()


@pytest.mark.fault(52)
@pytest.mark.parametrize("spread", [False, True])
async def test_a_cancelled_send_does_not_swallow_the_next_one(
    redis: Redis, redis_url: str, app_name: str, spread: bool
) -> None:
    app, stream = declare(app_name, redis_url)
    await stream.send(*items(0))
    for number in range(1, 30):
        cancelled = keyed(*range(-20, 0)) if spread else items(-number)
        task = asyncio.create_task(stream.send(*cancelled))
        await asyncio.sleep(0)
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await stream.send(*items(number))
    found: list[int] = []

    @app.on(stream)
    async def work(item: Item) -> None:
        found.append(item.number)

    await burst(app)
    assert [number for number in found if number >= 0] == list(range(30))


async def test_a_record_that_cannot_be_sent_is_refused_before_anything_is_written(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url, max_record_bytes=200)
    with pytest.raises(RecordTooLarge, match="max_record_bytes"):
        await stream.send(*items(1), Item(key="x" * 300, number=2))
    floats = app.stream("floats", record=Item, partition_by=lambda item: item.number / 2)
    with pytest.raises(PartitionKeyError, match="float"):
        await floats.send(*items(1))
    raising = app.stream("raising", record=Item, partition_by=lambda item: item.key[7])
    for number in (1, 2):
        with pytest.raises(PartitionKeyError, match=r"raising, Item.*IndexError: .*out of range"):
            await raising.send(*items(number))
    assert [key for key in await every_key(redis) if key.endswith(b":log")] == []
    await app.close()


async def test_a_grown_partition_count_is_refused_before_the_first_append(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url)
    await stream.send(*items(1))
    await app.close()
    grown = App(app_name, redis_url=redis_url)
    other = grown.stream("items", record=Item, partition_by="key", partition_count=64)
    with pytest.raises(Mismatch, match=r"partition_count=2, the code says 64.*stored=2"):
        await other.send(*(Item(key=str(i), number=i) for i in range(50)))
    await grown.close()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"name": "a b"}, "name 'a b' is not usable"),
        ({"name": "{a}"}, "is not usable"),
        ({"name": "a", "redis_url": "rdis://h"}, "did you mean redis://"),
        (
            {"name": "a", "session_timeout": 0.1},
            "setting session_timeout must be a number of seconds from 0.5",
        ),
        ({"name": "a", "session_timeot": 5}, "no setting 'session_timeot'"),
    ],
)
def test_a_wrong_declaration_names_the_field_and_the_fix(
    keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        App(**keywords)


def test_a_setting_comes_from_keyword_then_environment_then_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert App("a").settings.session_timeout == 10
    monkeypatch.setenv("RUNNEL_SESSION_TIMEOUT", "7")
    assert App("a").settings.session_timeout == 7
    assert App("a", session_timeout=5).settings.session_timeout == 5
    monkeypatch.setenv("RUNNEL_SESSION_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="RUNNEL_SESSION_TIMEOUT"):
        App("a")
