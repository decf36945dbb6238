"""The annotation of a function is compared with the records of its stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypedDict, TypeVar

import pytest

from runnel import App, Events, Record
from runnel.errors import ConfigError

app = App("annotated")


class Order(Record):
    id: int


orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)


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
        app.on(orders, name="partly")(takes)  # type: ignore[arg-type]


def test_a_record_class_that_is_made_again_is_the_same() -> None:
    again = type("Order", (Record,), {"__module__": __name__})
    app.on(orders, name="again")(_taking(again))
    run = type("Order", (Record,), {"__module__": "__main__"})
    app.on(orders, name="run")(_taking(run))
    elsewhere = type("Order", (Record,), {"__module__": "billing"})
    refused = r"takes billing\.Order, .*records of .*test_signatures_annotated\.Order"
    with pytest.raises(ConfigError, match=refused):
        app.on(orders, name="elsewhere")(_taking(elsewhere))
