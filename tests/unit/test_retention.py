"""How long the events of a stream stay: what a declaration may say, and what scripts get of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from runnel import App, DeadLetter, Record
from runnel.errors import ConfigError
from runnel.retention import Retention


class Order(Record):
    id: int


def declared(**options: Any) -> Any:
    return App("shop").stream("orders", record=Order, partition_by="id", **options).spec


def test_without_a_word_events_stay_until_room_is_needed() -> None:
    spec = declared()
    assert spec.retention == Retention(0, "refuse")
    assert (spec.limits, spec.retention.retain) == (50_000, "always")


@pytest.mark.parametrize("age", [90, 90.0, timedelta(seconds=90)])
def test_an_age_in_seconds_or_as_a_timedelta_goes_with_the_size(age: Any) -> None:
    spec = declared(max_age=age, partition_size=100)
    assert spec.limits == "100,90000"
    assert spec.sink(0).limits == "100,90000"


@pytest.mark.parametrize("age", [0, -1, 0.5, True, "1d", timedelta(0), 10**11, float("nan")])
def test_another_age_is_refused_by_name(age: Any) -> None:
    with pytest.raises(ConfigError, match=r"^stream orders: max_age must be a number of seconds"):
        declared(max_age=age)


def test_retain_has_two_values() -> None:
    spec = declared(retain="until_full")
    assert (spec.retention.when_full, spec.retention.retain) == ("drop_unread", "until_full")
    assert spec.sink(0).when_full == "drop_unread"
    with pytest.raises(ConfigError, match='retain must be "always" or "until_full", not \'never\''):
        declared(retain="never")


def test_a_derived_stream_has_a_retention_of_its_own() -> None:
    app = App("shop")
    orders = app.stream("orders", record=Order, partition_by="id", max_age=60, retain="until_full")
    assert orders.dead_letters("bill").spec.retention == Retention()
    letters = orders.derive("letters", DeadLetter, max_age=timedelta(days=90), retain="until_full")
    assert letters.spec.retention == Retention(90 * 86_400_000, "drop_unread")
