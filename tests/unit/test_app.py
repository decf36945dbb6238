"""An app takes its settings and declarations, and refuses wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from runnel import App, Record
from runnel.errors import ConfigError


class Order(Record):
    number: int


async def bill(order: Order) -> None:
    """A handler."""


async def ship(order: Order) -> None:
    """Another handler."""


def test_an_option_that_is_none_is_refused_by_both_decorators() -> None:
    app = App("shop")
    orders = app.stream("orders", record=Order, partition_by="number")
    for decorator in (app.processor, app.on):
        with pytest.raises(TypeError, match="retry"):
            decorator(orders, retry=1)  # type: ignore[call-arg]


def test_a_name_is_taken_once() -> None:
    app = App("shop")
    orders = app.stream("orders", record=Order, partition_by="number")
    with pytest.raises(ConfigError, match="two streams named 'orders': declare it once"):
        app.stream("orders", record=Order, partition_by="number")
    app.on(orders)(bill)
    with pytest.raises(ConfigError, match="two processors named 'bill'"):
        app.on(orders, name="bill")(ship)
    assert app.streams == {"orders": orders}
    assert app.processors["bill"].function is bill


def test_a_stream_of_another_app_is_refused() -> None:
    orders = App("other").stream("orders", record=Order, partition_by="number")
    app = App("shop")
    for decorator in (app.processor, app.on):
        with pytest.raises(ConfigError, match="the stream orders belongs to another app"):
            decorator(orders)


def test_processors_are_chosen_by_their_names_and_have_the_module_of_the_command_line() -> None:
    app = App("shop")
    orders = app.stream("orders", record=Order, partition_by="number")
    with pytest.raises(ConfigError, match="has no processor 'bill'; it has none"):
        app.choose(["bill"])
    for function in (bill, ship):
        app.on(orders)(function)
    assert [each.target for each in app.choose([])] == [f"{__name__}:bill", f"{__name__}:ship"]
    app.module = "example"
    assert [each.target for each in app.choose(["ship"])] == ["example:ship"]
    twice = [each.name for each in app.choose(["ship", "bill", "ship"])]
    assert twice == ["ship", "bill"], "a processor that is named twice runs once"
    with pytest.raises(ConfigError, match="has no processor 'shp'; it has bill, ship"):
        app.choose(["ship", "shp"])


def test_a_setting_that_is_changed_later_is_checked_as_well() -> None:
    app = App("shop", session_timeout=5)
    app.configure(redis_url="redis://elsewhere", shutdown_timeout=3)
    assert app.settings.redis_url == "redis://elsewhere"
    assert (app.settings.session_timeout, app.settings.shutdown_timeout) == (5, 3)
    with pytest.raises(ConfigError, match="did you mean redis://"):
        app.configure(redis_url="rdis://elsewhere")
    with pytest.raises(ConfigError, match="session_timeout must be"):
        app.configure(session_timeout=0.1)


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


def test_a_processor_knows_the_tables_whose_keys_expire() -> None:
    app = App("shop")
    orders = app.stream("orders", record=Order, partition_by="number")
    app.on(orders)(bill)
    app.on(orders)(ship)
    app.table("visits", orders, value=int, expire=60)
    app.table("totals", orders, value=int)
    app.table("carts", orders, value=int, processor="ship", expire=86400)
    found = {each.name: (each.tables, each.expire) for each in app.choose([])}
    assert found == {
        "bill": (("visits", "totals"), {"visits": 60}),
        "ship": (("visits", "totals", "carts"), {"visits": 60, "carts": 86400}),
    }


def test_objects_say_what_they_are_without_the_address_of_redis() -> None:
    app = App("shop", redis_url="redis://:secret@elsewhere")
    orders = app.stream("orders", record=Order, partition_by="number")
    totals = app.table("totals", orders, value=int)
    assert repr(app) == "App('shop')"
    assert repr(orders) == "Stream('orders', record=Order)"
    assert repr(totals) == "Table('totals', stream='orders')"
