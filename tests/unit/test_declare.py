"""Which functions a decorator accepts; it refuses others at once and names the right decorator."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypedDict, TypeVar

import pytest

from runnel import (
    App,
    DeadLetter,
    DeadLetterMiddleware,
    Event,
    Events,
    ExceptionPolicy,
    Middleware,
    Record,
)
from runnel.errors import ConfigError, NothingRan
from runnel.handlers.callables import of_nothing

app = App("declared")


class Order(Record):
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
        ("on", two, r"signature is \(order: .*, context: .*; give the others a default"),
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
        ("on", by_event, r"says that it takes .*Event\[.*use @app\.processor\(orders\)"),
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
    ],
)
def test_what_could_not_run_is_refused_where_it_is_declared(
    decorator: str, function: Any, says: str
) -> None:
    before = dict(app.processors)
    with pytest.raises(ConfigError, match=says):
        getattr(app, decorator)(orders, name="refused")(function)
    assert app.processors == before


@pytest.mark.parametrize("decorator", ["on", "processor"])
@pytest.mark.parametrize(
    ("function", "called"),
    [
        (lambda record: one(record), "a lambda has no name of its own"),
        (functools.partial(bare), "a functools.partial of the function bare has no name"),
        (functools.partial(lambda x: one(x)), "a functools.partial of a lambda has no name"),
        (Handler(), r"Handler object at .* has no name"),
    ],
)
def test_what_has_no_name_of_its_own_must_be_given_one(
    decorator: str, function: Any, called: str
) -> None:
    with pytest.raises(ConfigError, match=rf'{called}.*@app\.{decorator}\(orders, name="mail"\)'):
        getattr(app, decorator)(orders)(function)


class Ordered(Order):
    at: int


class Refund(Record):
    id: int


class Shape(TypedDict):
    id: int


@dataclass
class Plain:
    id: int


T = TypeVar("T")


class Envelope(Record, Generic[T]):
    id: int
    body: T


def _taking(hint: Any) -> Callable[..., Any]:
    async def takes(given: Any) -> None:
        pass

    takes.__annotations__["given"] = hint
    return takes


mixed = app.stream("mixed", record=Order | Plain, partition_by="id")
envelopes = app.stream("envelopes", record=Envelope[Order], partition_by="id")


@pytest.mark.parametrize(
    ("decorator", "stream", "hint", "expected"),
    [
        ("on", orders, Refund, ("Refund", "Order")),
        ("on", orders, "Refund", ("Refund", "Order")),
        ("on", orders, Refund | Plain, ("Refund | ", "Order")),
        ("on", orders, Annotated[Refund, "one"], ("Refund", "Order")),
        ("on", orders, Shape, ("Shape", "Order")),
        ("on", orders, dict[str, Any], ("dict[str, typing.Any]", "Order")),
        ("on", mixed, Refund, ("Refund", "Order | ")),
        ("on", envelopes, Envelope[Refund], ("Envelope[Refund]", "Envelope[Order]")),
        ("processor", orders, Events[Refund], ("Refund]", "Events[Order]")),
        ("processor", orders, "Events[Refund]", ("Refund]", "Events[Order]")),
        ("processor", orders, Events[Refund] | None, ("Refund]", "Events[Order]")),
        ("processor", mixed, Events[Refund], ("Refund]", "Order | ")),
    ],
)
def test_an_annotation_with_another_record_is_refused(
    decorator: str, stream: Any, hint: Any, expected: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(app, decorator)(stream, name="other")(_taking(hint))
    says, has = str(caught.value).split(f", but the stream {stream.name} has records of ")
    assert expected[0] in says
    assert expected[1] in has
    assert f"@app.{decorator}(…)" in has


@pytest.mark.parametrize(
    ("decorator", "stream", "hint"),
    [
        ("on", orders, Ordered),
        ("on", orders, Record),
        ("on", orders, object),
        ("on", orders, Order | Refund),
        ("on", orders, Any),
        ("on", orders, "Order"),
        ("on", orders, "Nowhere"),
        ("on", orders, T),
        ("on", mixed, Order),
        ("on", mixed, Order | Plain),
        ("on", envelopes, Envelope),
        ("on", envelopes, Envelope[Any]),
        ("processor", orders, Events),
        ("processor", orders, Events[Any]),
        ("processor", orders, Events[T]),  # type: ignore[valid-type]
        ("processor", orders, Events[Ordered]),
        ("processor", orders, Events[Order | Refund]),
        ("processor", mixed, Events[Plain]),
    ],
)
def test_an_annotation_that_may_be_the_record_is_accepted(
    decorator: str, stream: Any, hint: Any
) -> None:
    getattr(app, decorator)(stream, name=f"may-be-{len(app.processors)}")(_taking(hint))


def test_a_hint_that_cannot_be_resolved_hides_no_other() -> None:
    async def takes(refund: "Refund", more: "Missing" = None) -> None:  # type: ignore # noqa
        pass

    with pytest.raises(ConfigError, match="takes Refund, but the stream orders has records of"):
        app.on(orders, name="partly")(takes)


def test_a_record_class_that_is_made_again_is_the_same() -> None:
    again = type("Order", (Record,), {"__module__": __name__})
    app.on(orders, name="again")(_taking(again))
    run = type("Order", (Record,), {"__module__": "__main__"})
    app.on(orders, name="run")(_taking(run))
    elsewhere = type("Order", (Record,), {"__module__": "billing"})
    refused = r"takes billing\.Order, .*records of .*test_declare\.Order"
    with pytest.raises(ConfigError, match=refused):
        app.on(orders, name="elsewhere")(_taking(elsewhere))


def test_an_option_that_is_none_is_refused_by_both_decorators() -> None:
    with pytest.raises(ConfigError, match=r"no option 'retry'; it has backoff"):
        app.on(orders, retry=1)
    with pytest.raises(TypeError, match="retry"):
        app.processor(orders, retry=1)  # type: ignore[call-arg]


def test_a_shared_dead_letter_middleware_gives_each_processor_a_sink_of_its_own() -> None:
    shop = App("shared")
    first = shop.stream("first", record=Order, partition_by="id", partition_count=2)
    second = shop.stream("second", record=Order, partition_by="id", partition_count=8)
    shared = [DeadLetterMiddleware()]
    for name, stream in (("a", first), ("b", second), ("c", second)):
        shop.on(stream, name=name, middleware=shared, exception_policy="ignore")(one)
    sinks = {name: each.sink for name, each in shop.processors.items()}
    assert {name: sink and sink.name for name, sink in sinks.items()} == {
        "a": "first.a.dead",
        "b": "second.b.dead",
        "c": "second.c.dead",
    }
    assert [sinks[each].partition_count for each in "abc" if sinks[each]] == [2, 8, 8]  # type: ignore[union-attr]
    assert shared[0].sink is None


@pytest.mark.parametrize("name", [None, "", 5, True, b"reader", "a b", object()])
def test_dead_letters_are_of_a_processor(name: Any) -> None:
    with pytest.raises(ConfigError, match="processor name"):
        orders.dead_letters(name)


def test_a_policy_may_be_named_and_a_wrong_one_is_refused() -> None:
    app.processor(orders, name="lenient", exception_policy="ignore")(iterates)
    assert app.processors["lenient"].policy is ExceptionPolicy.IGNORE
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"exception_policy": "nonsense"}, "must be HALT, QUARANTINE or IGNORE, not 'nonsense'"),
        ({"middleware": [DeadLetterMiddleware]}, "the class DeadLetterMiddleware"),
        (
            {"middleware": [DeadLetterMiddleware()], "exception_policy": "halt"},
            "the policy HALT skips no event",
        ),
    ]
    for options, said in wrong:
        with pytest.raises(ConfigError, match=said):
            app.processor(orders, name="other", **options)(iterates)
    for decorator in (app.processor, app.on):
        with pytest.raises(ConfigError, match="not the function iterates"):
            decorator(iterates)  # type: ignore[arg-type]


def test_middleware_may_come_from_an_iterator() -> None:
    shop = App("iterated")
    source = shop.stream("source", record=Order, partition_by="id", partition_count=2)
    made = [Middleware(), DeadLetterMiddleware()]
    shop.on(source, name="a", middleware=(each for each in made))(one)
    assert shop.processors["a"].middleware == tuple(made)
    assert shop.processors["a"].sink


def test_a_sink_that_no_dead_letter_could_go_to_is_refused_where_it_is_declared() -> None:
    shop = App("sinks")
    source = shop.stream("source", record=Order, partition_by="id", partition_count=8)
    other = shop.stream("other", record=Order, partition_by="id", partition_count=1)
    elsewhere = App("elsewhere").stream("source", record=Order, partition_by="id")
    wrong: list[tuple[Any, str]] = [
        (shop.stream("letters", record=DeadLetter, partition_by="stream"), "is not derived from"),
        (other.derive("other.dead", DeadLetter), "is not derived from source"),
        (elsewhere.derive("source.dead", DeadLetter), "is not derived from source"),
        (source.derive("again", Order), "holds Order, and must hold DeadLetter"),
        (source, "is not derived from source"),
        ("source.dead", "'source.dead', which is no stream"),
    ]
    for sink, says in wrong:
        with pytest.raises(ConfigError, match=says):
            shop.on(source, name="x", middleware=[DeadLetterMiddleware(sink)])(one)
    letters = source.derive("source.letters", DeadLetter)
    with pytest.raises(ConfigError, match="is the stream that it reads"):
        shop.on(letters, name="x", middleware=[DeadLetterMiddleware(letters)])(bare)
    shared = DeadLetterMiddleware(letters)
    for name in ("y", "z"):
        shop.on(source, name=name, middleware=[shared])(one)
        assert shop.processors[name].sink is letters.spec
    with pytest.raises(ConfigError, match="one DeadLetterMiddleware is enough"):
        shop.on(source, name="v", middleware=[shared, DeadLetterMiddleware()])(one)
    assert set(shop.processors) == {"y", "z"}
    assert "source.x.dead" not in shop.streams


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
