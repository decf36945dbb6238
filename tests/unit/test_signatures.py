"""Which functions a decorator accepts; it refuses others at once and names the right decorator."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Protocol

import pytest

from runnel import App, Event, Events, Record
from runnel.errors import ConfigError

app = App("declared")


class Order(Record):
    id: int


class Other(Record):
    id: int


class Unnamed(Protocol):
    id: int


orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)


def passing(function: Callable[..., Any]) -> Callable[..., Any]:
    """An ordinary decorator, which makes a plain function of an async one."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def of_each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function of events out of one of a record."""

    @functools.wraps(function)
    async def inner(events: Events[Order]) -> None:
        async for order in events.records():
            await function(order)

    return inner


def sent_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the function a second argument, as a container of dependencies does."""

    @functools.wraps(function)
    async def inner(order: Order) -> None:
        await function(order, object())

    return inner


async def one(order: Order) -> None:
    pass


async def bare(order):  # type: ignore[no-untyped-def]
    pass


async def iterates(events: Events[Order]) -> None:
    async for _ in events:
        pass


async def generates(order: Order) -> AsyncIterator[int]:
    yield order.id


def generates_plainly(order: Order) -> Any:
    yield order.id


def blocks(events: Any) -> None:
    for order in events:
        print(order)


def gives_back(events: Any) -> Any:
    return iterates(events)


async def none() -> None:
    pass


async def two(order: Order, context: Any) -> None:
    pass


async def with_event(order: Order, event: Event[Order]) -> None:
    pass


async def with_event_and_more(order: Order, event: Event[Order], *rest: int, key: int = 0) -> None:
    pass


def with_event_in_a_thread(order: Order, event: Event[Order]) -> None:
    pass


async def with_context(order: Order, context: dict[str, int]) -> None:
    pass


async def wrong_way_round(event: Event[Order], order: Order) -> None:
    pass


async def of_another(order: Order, event: Event[Unnamed]) -> None:
    pass


async def of_other(order: Order, event: Event[Other]) -> None:
    pass


async def three(order: Order, event: Event[Order], db: Any) -> None:
    pass


async def by_keyword(order: Order, *, event: Event[Order]) -> None:
    pass


async def two_with_default(order: Order, context: Any = None) -> None:
    pass


async def only_keywords(*, order: Order) -> None:
    pass


async def by_event(event: Event[Order]) -> None:
    pass


async def by_list(batch: list[Order]) -> None:
    pass


async def annotated(order: Annotated[Order, "one"]) -> None:
    pass


async def optional(order: Order | None) -> None:
    pass


async def loosely(events: AsyncIterator[Order]) -> None:
    pass


async def by_anything(events: Any) -> None:
    pass


async def by_shape(order: Unnamed) -> None:
    pass


async def by_class(cls: type, /) -> None:
    pass


class Handler:
    async def __call__(self, order: Order) -> None:
        pass

    async def handle(self, order: Order) -> None:
        pass

    async def handle_event(self, order: Order, event: Event[Order]) -> None:
        pass


class OverEvents:
    async def __call__(self, events: Events[Order]) -> None:
        pass


class Generating:
    async def __call__(self, order: Order) -> AsyncIterator[int]:
        yield order.id


@pytest.mark.parametrize(
    ("decorator", "function"),
    [
        ("on", one),
        ("on", bare),
        ("on", two_with_default),
        ("on", two),
        ("on", with_event),
        ("on", with_event_and_more),
        ("on", with_event_in_a_thread),
        ("on", of_another),
        ("on", passing(with_event)),
        ("on", passing(with_context)),
        ("on", functools.partial(three, db=1)),
        ("on", Handler().handle_event),
        ("on", annotated),
        ("on", optional),
        ("on", by_shape),
        ("on", passing(one)),
        ("on", sent_on(two)),
        ("on", functools.partial(two, context=1)),
        ("on", functools.partial(one)),
        ("on", Handler()),
        ("on", Handler().handle),
        ("on", lambda order: one(order)),
        ("on", print),
        ("processor", iterates),
        ("processor", bare),
        ("processor", loosely),
        ("processor", by_anything),
        ("processor", by_shape),
        ("processor", passing(iterates)),
        ("processor", of_each(one)),
        ("processor", OverEvents()),
        ("processor", functools.partial(iterates)),
        ("processor", gives_back),
        ("processor", lambda events: iterates(events)),
    ],
)
def test_what_can_be_called_is_declared(decorator: str, function: Any) -> None:
    name = f"accepted-{len(app.processors)}"
    assert getattr(app, decorator)(orders, name=name)(function) is function
    assert app.processors[name].function is function


@pytest.mark.parametrize(
    ("decorator", "function", "says"),
    [
        ("on", generates, "is a generator"),
        ("on", generates_plainly, "is a generator"),
        ("on", Generating(), "is a generator"),
        ("on", functools.partial(generates), "is a generator"),
        ("on", none, "cannot be called with one argument, one record"),
        ("on", three, r"signature is \(order: .*, db: .*; give the others a default, or bind"),
        ("on", by_keyword, "cannot be called with one argument, one record, or with two"),
        ("on", with_context, r"second argument is dict.*the event: \(record: Order, event: Event"),
        (
            "on",
            wrong_way_round,
            r"first argument is .*Event\[.*record first and.* the event second",
        ),
        ("on", of_other, r"second argument is .*Other\], but the stream has records of Order"),
        ("on", Handler.handle_event, r"it is a method, so declare it on an object"),
        ("on", only_keywords, "cannot be called with one argument"),
        ("on", Handler.handle, r"it is a method, so declare it on an object.*thing\.handle"),
        ("on", Handler, r"not the class Handler \(call it: Handler\(\)\)"),
        ("on", 5, "takes a function, not 5"),
        (
            "on",
            classmethod(by_class),
            "not the classmethod by_class, which only its class can call",
        ),
        ("on", iterates, r"gives it one record at a time, Order.*use @app\.processor\(orders\)"),
        ("on", OverEvents(), r"use @app\.processor\(orders\)"),
        ("on", by_event, r"first argument is .*Event\[.*\(record: Order, event: Event\[Order\]\)"),
        ("on", by_list, r"use @app\.processor\(orders\)"),
        ("processor", one, r"takes Order, but .* Events\[Order\].*use @app\.on\(orders\)"),
        ("processor", annotated, r"use @app\.on\(orders\)"),
        ("processor", optional, r"use @app\.on\(orders\)"),
        ("processor", by_event, r"use @app\.on\(orders\)"),
        ("processor", by_list, r"use @app\.on\(orders\)"),
        ("processor", Handler(), r"use @app\.on\(orders\)"),
        ("processor", functools.partial(one), r"use @app\.on\(orders\)"),
        ("processor", blocks, r"must be an `async def`.*use @app\.on\(orders\)"),
        ("processor", functools.partial(blocks), r"must be an `async def`"),
        ("processor", generates, "is a generator"),
        ("processor", none, "cannot be called with one argument, the events of a partition"),
        ("processor", two, "cannot be called with one argument"),
        ("processor", with_event, "cannot be called with one argument"),
    ],
)
def test_what_could_not_run_is_refused_where_it_is_declared(
    decorator: str, function: Any, says: str
) -> None:
    before = dict(app.processors)
    with pytest.raises(ConfigError, match=says):
        getattr(app, decorator)(orders, name="refused")(function)
    assert app.processors == before


async def sleeps() -> None:
    pass


def pauses() -> None:
    pass


async def beats() -> AsyncIterator[int]:
    yield 1


async def needs(db: Any) -> None:
    pass


@pytest.mark.parametrize("kind", ["task", "timer", "crontab"])
def test_tasks_are_declared_and_refused_as_handlers_are(kind: str) -> None:
    clock = App("clock")
    decorators: dict[str, Callable[[Any], Any]] = {
        "task": clock.task(),
        "timer": clock.timer(interval=1),
        "crontab": clock.crontab("* * * * *"),
    }
    decorate = decorators[kind]
    accepted = passing(sleeps)
    assert decorate(accepted) is accepted
    assert set(clock.tasks) == {"sleeps"}
    wrong: list[tuple[Any, str]] = [
        (pauses, f"{kind} pauses must be an `async def` without arguments"),
        (beats, f"{kind} beats is a generator"),
        (needs, rf"{kind} needs is called without arguments, and its signature is \(db"),
        (lambda: sleeps(), "a lambda has no name of its own"),
        (functools.partial(sleeps), "a functools.partial of the function sleeps has no name"),
        (Handler, "not the class Handler"),
        (5, "takes a function, not 5"),
        (sleeps, "has two tasks named 'sleeps'"),
    ]
    for function, says in wrong:
        with pytest.raises(ConfigError, match=says):
            decorate(function)
    assert set(clock.tasks) == {"sleeps"}
