"""The options of a decorator, and the stream for its dead letters, are checked where it is used."""

from __future__ import annotations

from typing import Any

import pytest

from runnel import (
    App,
    DeadLetter,
    DeadLetterMiddleware,
    Events,
    ExceptionPolicy,
    Middleware,
    Record,
)
from runnel.errors import ConfigError

app = App("declared")


class Order(Record):
    id: int


orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)


async def one(order: Order) -> None:
    pass


async def bare(order):  # type: ignore[no-untyped-def]
    pass


async def iterates(events: Events[Order]) -> None:
    async for _ in events:
        pass


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


def test_a_policy_may_be_named_and_a_wrong_one_is_refused() -> None:
    app.processor(orders, name="lenient", exception_policy="ignore")(iterates)
    assert app.processors["lenient"].policy is ExceptionPolicy.IGNORE
    app.processor(orders, name="patient", exception_policy="Retry_Later")(iterates)
    assert app.processors["patient"].policy is ExceptionPolicy.RETRY_LATER
    wrong: list[tuple[dict[str, Any], str]] = [
        (
            {"exception_policy": "nonsense"},
            "must be QUARANTINE, PARK, RETRY_LATER, IGNORE or HALT, not 'nonsense'",
        ),
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
    with pytest.raises(ConfigError, match="only DeadLetterMiddleware may be used, not Middleware"):
        shop.on(source, concurrency=2, middleware=iter([Middleware()]))(one)
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
