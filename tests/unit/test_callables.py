"""What a function is named, what a call of it does, and that what it returns is awaited."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runnel import App, Event, Record
from runnel.errors import ConfigError, NothingRan
from runnel.handlers.callables import (
    call_of,
    is_async,
    is_generator,
    module_of,
    of_nothing,
    settled,
    takes_event,
)

app = App("called")


class Order(Record):
    id: int


orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """An ordinary decorator, which makes a plain function of an async one."""
    return functools.wraps(function)(lambda *args: function(*args))


async def one(order: Order) -> None:
    pass


async def beats(order: Order) -> AsyncIterator[int]:
    yield order.id


def counts(order: Order) -> Iterator[int]:
    yield order.id


class Handler:
    async def __call__(self, order: Order) -> None:
        pass

    async def handle(self, order: Order) -> None:
        pass

    def plain(self, order: Order) -> None:
        pass


class Counting:
    def __call__(self, order: Order) -> Iterator[int]:
        yield order.id


@pytest.mark.parametrize("decorator", ["on", "processor"])
@pytest.mark.parametrize(
    ("function", "called"),
    [
        (lambda record: one(record), "a lambda has no name of its own"),
        (functools.partial(one), "a functools.partial of the function one has no name"),
        (functools.partial(lambda x: one(x)), "a functools.partial of a lambda has no name"),
        (Handler(), r"Handler object at .* has no name"),
    ],
)
def test_what_has_no_name_of_its_own_must_be_given_one(
    decorator: str, function: Any, called: str
) -> None:
    with pytest.raises(ConfigError, match=rf'{called}.*@app\.{decorator}\(orders, name="mail"\)'):
        getattr(app, decorator)(orders)(function)


@pytest.mark.parametrize(
    ("function", "does"),
    [
        (one, "coroutine"),
        (functools.partial(functools.partial(one)), "coroutine"),
        (staticmethod(one), "coroutine"),
        (Handler(), "coroutine"),
        (Handler().handle, "coroutine"),
        (beats, "generator"),
        (counts, "generator"),
        (functools.partial(counts), "generator"),
        (Counting(), "generator"),
        (Handler().plain, "runs"),
        (lambda order: one(order), "runs"),
        (passing(one), "runs"),
        (print, "runs"),
    ],
)
def test_what_a_call_does_is_known_before_it_is_made(function: Any, does: str) -> None:
    assert (is_async(function), is_generator(function)) == (
        does == "coroutine",
        does == "generator",
    )


def both(order: Order, event: Event[Order]) -> tuple[Order, Event[Order]]:
    return order, event


def given_a_client(order: Order, client: int) -> int:
    return client


def given_both(order: Any, event: Any, client: int = 0) -> None:
    pass


def inner_of_any(order, event):  # type: ignore[no-untyped-def]
    pass


def default(order: Order, event: Event[Order] | None = None) -> None:
    pass


def collects(order: Order, *rest: Any) -> None:
    pass


def keywords(order: Order, **rest: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (one, False),
        (both, True),
        (given_both, True),
        (default, False),
        (collects, False),
        (keywords, False),
        (functools.partial(both), True),
        (functools.partial(given_both, event=1), False),
        (functools.partial(both, Order(id=1)), False),
        (passing(one), False),
        (passing(both), True),
        (passing(inner_of_any), True),
        (passing(given_a_client), False),
        (Handler(), False),
        (Handler().plain, False),
        (lambda order, event: None, True),
        (lambda *args: None, False),
        (print, False),
        (dict.fromkeys, False),
    ],
)
def test_a_function_that_needs_two_arguments_takes_the_event(function: Any, expected: bool) -> None:
    assert takes_event(function) is expected


def test_a_call_gives_what_the_function_takes() -> None:
    assert call_of(one) is one
    event = Event([b"7-1", orders.spec.encode(Order(id=5))], 3, orders.spec.codec)
    assert call_of(both)(event) == (Order(id=5), event)


def test_the_module_of_a_function_is_the_one_that_defines_it() -> None:
    for function in (one, functools.partial(one), passing(one), Handler(), Handler().handle):
        assert module_of(function) == __name__
    assert module_of(functools.partial(asyncio.sleep, 1)) == "asyncio.tasks"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ({"__file__": "/srv/shop.py"}, "shop"),
        (
            {"__file__": "/srv/jobs/shop.py", "__spec__": SimpleNamespace(name="jobs.shop")},
            "jobs.shop",
        ),
        ({}, "MODULE"),
    ],
)
def test_the_module_of_a_program_is_what_commands_can_import(
    monkeypatch: pytest.MonkeyPatch, program: dict[str, object], name: str
) -> None:
    main = ModuleType("__main__")
    vars(main).pop("__spec__")
    vars(main).update(program)
    monkeypatch.setitem(sys.modules, "__main__", main)

    def bill() -> None:
        pass

    bill.__module__ = "__main__"
    assert module_of(bill) == name


async def test_whatever_a_task_gives_is_awaited() -> None:
    clock, ran = App("ticks"), []

    async def body() -> None:
        ran.append(1)

    async def twice() -> Any:
        return body()

    def plain() -> Any:
        return body()

    def neither() -> Any:
        return 5

    for function in (body, passing(body), twice, plain):
        await of_nothing(function)()
    assert len(ran) == 4
    with pytest.raises(NothingRan, match="returned int instead of an awaitable"):
        await of_nothing(neither)()
    clock.task()(plain)
    await clock.tasks["plain"].function()
    assert len(ran) == 5


async def test_what_a_handler_returns_is_awaited_until_it_is_no_awaitable() -> None:
    ran: list[str] = []

    async def innermost() -> Any:
        ran.append("innermost")
        return 5, "no awaitable is in here"

    of_thread: Future[Any] = Future()
    of_loop: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    of_loop.set_result(of_thread)
    settling = asyncio.create_task(settled(of_loop, one))
    await asyncio.sleep(0)
    assert not settling.done()
    of_thread.set_result(innermost())
    await settling
    assert ran == ["innermost"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: counts(Order(id=1)), "returned a generator, which nobody iterates over"),
        (lambda: beats(Order(id=1)), "returned a generator, which nobody iterates over"),
        (lambda: map(str, [1]), "returned a map, which nobody iterates over"),
        (lambda: [Future(), asyncio.Future()], "returned a list of awaitables"),
        (lambda: (asyncio.Future(),), "returned a tuple of awaitables"),
        (lambda: {asyncio.Future()}, "returned a set of awaitables"),
    ],
)
async def test_what_a_handler_returns_and_nobody_runs_is_an_error(
    make: Callable[[], Any], said: str
) -> None:
    with pytest.raises(NothingRan, match=f"the function one {said}"):
        await settled(make(), one)
