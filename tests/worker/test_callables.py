"""Handlers of every form run: an awaitable that one returns is awaited before the next event."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import runnel
from runnel import App, Event, Events, Middleware, Record, Stream
from runnel.errors import BurstBlocked
from runnel.worker.worker import Worker

done: list[int] = []
pool = concurrent.futures.ThreadPoolExecutor(1)


class Item(Record):
    number: int


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


async def work(item: Item, more: int = 0) -> None:
    await asyncio.sleep(0)
    done.append(item.number)


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def anonymous(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: function(*args)


class Handler:
    async def __call__(self, item: Item) -> None:
        await work(item)

    def plain(self, item: Item) -> Any:
        return work(item)


class Later:
    """Awaitable, but not a coroutine."""

    def __init__(self, item: Item) -> None:
        self.item = item

    def __await__(self) -> Any:
        return work(self.item).__await__()


async def not_awaited(item: Item) -> Any:
    return work(item)


async def as_task(item: Item) -> Any:
    return asyncio.create_task(work(item))


def in_a_pool(item: Item) -> Any:
    return pool.submit(lambda: done.append(item.number))


async def over(events: Events[Item]) -> None:
    async for item in events.records():
        await work(item)


FORMS: dict[str, Any] = {
    "decorated": passing(work),
    "decorated without a name": anonymous(work),
    "lambda": lambda item: work(item),
    "partial": functools.partial(work, more=1),
    "partial of a lambda": functools.partial(lambda more, item: work(item), 1),
    "object": Handler(),
    "method": Handler().plain,
    "awaitable object": Later,
    "coroutine of a coroutine": not_awaited,
    "task": as_task,
    "future of a pool": in_a_pool,
}


def declare(name: str, url: str) -> tuple[App, Stream[Item]]:
    app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.001, retries=1, prefetch=2)
    return app, app.stream("items", record=Item, partition_by="number", partition_count=1)


@pytest.mark.parametrize("form", sorted(FORMS))
async def test_a_handler_of_one_record_is_awaited_in_every_form(
    redis: Redis, redis_url: str, app_name: str, form: str
) -> None:
    app, items = declare(app_name, redis_url)
    function = FORMS[form]
    if isinstance(function, type):
        function = functools.partial(function)
    app.on(items, name="work")(function)
    await items.send(*(Item(number=n) for n in range(20)))
    await Worker(app).run(burst=True)
    assert done == list(range(20))


@pytest.mark.parametrize(
    "function",
    [over, passing(over), anonymous(over), lambda events: over(events), functools.partial(over)],
)
async def test_a_handler_of_events_is_awaited_in_every_form(
    redis: Redis, redis_url: str, app_name: str, function: Any
) -> None:
    app, items = declare(app_name, redis_url)
    app.processor(items, name="work")(function)
    await items.send(*(Item(number=n) for n in range(20)))
    await Worker(app).run(burst=True)
    assert done == list(range(20))


def generates(item: Item) -> Iterator[int]:
    done.append(item.number)
    yield 1


def stops(item: Item) -> None:
    next(iter(()))


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (lambda item: generates(item), "NothingRan"),
        (lambda item: map(work, [item]), "NothingRan"),
        (lambda item: [Later(item), Later(item)], "NothingRan"),
        (stops, "RuntimeError"),
    ],
)
async def test_a_handler_that_did_not_run_fails_the_event_instead_of_committing_it(
    redis: Redis, redis_url: str, app_name: str, function: Any, error: str
) -> None:
    app, items = declare(app_name, redis_url)
    app.on(items, name="work")(function)
    await items.send(Item(number=1))
    with pytest.raises(BurstBlocked):
        await Worker(app).run(burst=True)
    partition_keys = app.processors["work"].keys(0)
    state: Any = await redis.hgetall(partition_keys.of_script()[2])
    assert state[b"error_type"].decode() == error
    assert done == []


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

    await stream.send(*(Item(number=number) for number in (1, 2, 3)))
    await Worker(app).run(burst=True)
    assert seen == {"plain": [1, 2, 3], "coroutine": [1, 2, 3]}
    assert threading.main_thread() not in threads


class Passing(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            yield item


Seen = list[tuple[int, int, str, dict[str, str]]]


@pytest.mark.parametrize("middleware", [(), (Passing(),)])
async def test_a_function_of_two_arguments_gets_the_event_besides_the_record(
    redis: Redis, redis_url: str, app_name: str, middleware: Sequence[Middleware]
) -> None:
    app, stream = declare(app_name, redis_url)
    seen: dict[str, Seen] = {"plain": [], "coroutine": [], "decorated": []}

    def see(name: str, item: Item, event: Event[Item]) -> None:
        assert event.record is item
        seen[name].append((item.number, event.partition, event.id, event.headers))

    @app.on(stream, middleware=middleware)
    def plain(item: Item, event: Event[Item]) -> None:
        assert threading.current_thread() is not threading.main_thread()
        see("plain", item, event)

    @app.on(stream, middleware=middleware)
    async def coroutine(item: Item, event: Event[Item]) -> None:
        see("coroutine", item, event)

    @app.on(stream, middleware=middleware)
    @passing
    async def decorated(item: Item, event: Event[Item]) -> None:
        see("decorated", item, event)

    sent = await stream.send(*(Item(number=n) for n in (1, 2, 3)), headers={"trace": "5"})
    await Worker(app).run(burst=True)
    expected = [(n, 0, each.id, {"trace": "5"}) for n, each in enumerate(sent, 1)]
    assert seen == {"plain": expected, "coroutine": expected, "decorated": expected}


@pytest.mark.parametrize("plain", [False, True])
async def test_an_entry_that_is_no_record_is_not_tried_again_with_its_event(
    redis: Redis,
    redis_url: str,
    app_name: str,
    plain: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, stream = declare(app_name, redis_url)

    def work(item: Item, event: Event[Item]) -> Any:
        done.append(item.number)

    async def work_in_loop(item: Item, event: Event[Item]) -> None:
        done.append(item.number)

    app.on(stream, name="work", exception_policy="ignore", retries=5)(
        work if plain else work_in_loop
    )
    await stream.send(Item(number=1), Item(number=2))
    await redis.xadd(f"{stream.spec.prefix(0)}:log", {"json": "{"})
    await stream.send(Item(number=3))
    await Worker(app).run(burst=True)
    assert done == [1, 2, 3]
    assert "failed (attempt 1 of 1): DecodeError" in caplog.text
    assert "attempt 2" not in caplog.text


def refuses(item: Item) -> None:
    raise ValueError("no such item")


async def refuses_in_loop(item: Item) -> None:
    refuses(item)


async def refuses_events(events: Events[Item]) -> None:
    async for item in events.records():
        refuses(item)


@pytest.mark.parametrize("function", [refuses, refuses_in_loop, refuses_events])
async def test_the_traceback_of_a_failure_is_that_of_the_function_with_a_note_of_the_event(
    redis: Redis, redis_url: str, app_name: str, function: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, stream = declare(app_name, redis_url)
    decorate: Any = app.processor if function is refuses_events else app.on
    decorate(stream, name="work", exception_policy="ignore")(function)
    (sent,) = await stream.send(Item(number=1))
    await Worker(app).run(burst=True)
    (trace,) = [each.exc_text for each in caplog.records if each.exc_text]
    lines = trace.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert __file__ in lines[1]
    assert str(Path(runnel.__file__).parent) not in trace
    assert lines[-2:] == [
        "ValueError: no such item",
        f"In Runnel: processor work, partition 0, event {sent.id}",
    ]
