"""Both decorators have the same options, with the same defaults, and editors see them."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

from runnel import App, Middleware, Record
from runnel.declaration.declare import Options
from runnel.errors import ConfigError


class Order(Record):
    number: int


async def bill(order: Order) -> None:
    """A handler of records."""


async def archive(events: Any) -> None:
    """A handler of events."""


#: Values that are none of the defaults.
GIVEN: dict[str, Any] = {
    "name": "other",
    "exception_policy": "park",
    "retries": 7,
    "backoff": 0.25,
    "backoff_max": 8.0,
    "commit": "each",
    "prefetch": 9,
    "middleware": (Middleware(),),
    "start": "latest",
    "timeout": 11.0,
    "park_limit": 12,
    "concurrency": 13,
}


@pytest.mark.parametrize("decorator", ["on", "processor"])
def test_a_decorator_has_every_option_with_its_default(decorator: str) -> None:
    signature = inspect.signature(getattr(App, decorator))
    known = {
        name: each.default
        for name, each in signature.parameters.items()
        if each.kind is each.KEYWORD_ONLY
    }
    assert known == {each.name: each.default for each in fields(Options)}


@pytest.mark.parametrize(("decorator", "function"), [("on", bill), ("processor", archive)])
@pytest.mark.parametrize("option", GIVEN)
def test_an_option_reaches_the_processor(decorator: str, function: Any, option: str) -> None:
    assert set(GIVEN) == {each.name for each in fields(Options)}
    if (decorator, option) == ("processor", "concurrency"):
        return  # It is refused: see `declare`.
    plain, app = App("plain"), App("shop")
    if (decorator, option) == ("processor", "concurrency"):
        orders = app.stream("orders", record=Order, partition_by="number")
        with pytest.raises(ConfigError, match="concurrency is for functions of one record"):
            app.processor(orders, concurrency=13)(function)
        return
    for each, options in ((plain, {}), (app, {option: GIVEN[option]})):
        stream = each.stream("orders", record=Order, partition_by="number")
        getattr(each, decorator)(stream, **options)(function)
    (before,), (made,) = plain.processors.values(), app.processors.values()
    option = "policy" if option == "exception_policy" else option
    changed = {
        each.name
        for each in fields(made)
        if each.name not in ("stream", "app", "handler")
        and getattr(made, each.name) != getattr(before, each.name)
    }
    assert changed == {option}
