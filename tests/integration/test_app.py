"""Handlers, middleware and dead letters as users write them, and the settings of an app."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetterMiddleware, Events, ExceptionPolicy, Middleware, Record, Stream
from runnel.errors import ConfigError
from runnel.worker.worker import Worker


class Item(Record):
    key: str
    number: int


def declare(name: str, url: str, **options: Any) -> tuple[App, Stream[Item]]:
    app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.001, **options)
    return app, app.stream("items", record=Item, partition_by="key", partition_count=2)


def items(*numbers: int) -> list[Item]:
    return [Item(key="k", number=number) for number in numbers]


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
