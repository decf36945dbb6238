"""Tests without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import shop
from shop import Order, Shortage, order_again, orders, reorder, reserve, shortages, stock

from runnel import Event
from runnel.testing import HandlerFailed, Harness


class Supplier:
    """Remembers what was ordered. It is out of reach for the first `fails` calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails = 0

    async def __call__(self, key: str, article: str) -> None:
        self.calls.append(key)
        if len(self.calls) <= self.fails:
            raise ConnectionError("the supplier does not answer")


@pytest.fixture
def supplier(monkeypatch: pytest.MonkeyPatch) -> Supplier:
    made = Supplier()
    monkeypatch.setattr(shop, "supplier", [made])
    return made


@pytest.fixture
async def t(supplier: Supplier) -> AsyncIterator[Harness]:
    async with shop.app.test() as t:
        yield t


async def test_an_order_takes_from_the_stock(t: Harness) -> None:
    await t.send(orders, Order(article="bolt", pieces=30), Order(article="nut", pieces=1))
    await t.drain()
    assert t.table(stock) == {"bolt": 70, "nut": 99}
    assert t.sent(shortages) == []


async def test_an_order_that_is_too_large_changes_nothing(t: Harness) -> None:
    await t.send(orders, Order(article="bolt", pieces=101), Order(article="bolt", pieces=1))
    await t.drain()
    assert stock.at("bolt") == 99
    assert t.dead(reserve) == [Order(article="bolt", pieces=101)]
    assert "more than there are" in t.dead_letters(reserve)[0].error_message


async def test_what_runs_low_is_ordered_once(t: Harness, supplier: Supplier) -> None:
    await t.send(orders, Order(article="bolt", pieces=91), Order(article="bolt", pieces=5))
    await t.drain()
    assert t.sent(shortages) == [Shortage(article="bolt", left=9)]
    assert len(supplier.calls) == 1


async def test_a_supplier_that_does_not_answer_is_asked_again_a_minute_later(
    t: Harness, supplier: Supplier
) -> None:
    supplier.fails = 2
    await t.send(shortages, Shortage(article="bolt", left=3))
    await t.drain()  # The minutes pass at once.
    assert len(supplier.calls) == 3
    assert [each.message for each in t.failures(reorder)] == [
        "ConnectionError: the supplier does not answer"
    ] * 2


async def test_a_supplier_that_never_answers_stops_the_partition(
    t: Harness, supplier: Supplier
) -> None:
    supplier.fails = 99
    await t.send(shortages, Shortage(article="bolt", left=3))
    with pytest.raises(HandlerFailed, match="the supplier does not answer"):
        await t.drain()
    supplier.fails = 0
    await t.resume(reorder)
    await t.drain()
    assert t.lag(reorder) == 0


async def test_a_repeat_after_a_crash_has_the_same_key(t: Harness, supplier: Supplier) -> None:
    await t.send(orders, Order(article="bolt", pieces=95))
    await t.crash()
    assert stock.at("bolt") == 100  # Nothing was committed.
    await t.drain()
    assert stock.at("bolt") == 5
    await t.send(shortages, Shortage(article="nut", left=1))
    await t.crash()
    await t.drain()
    first, nut, again = supplier.calls
    assert nut == again != first


async def test_the_bolts_are_counted_every_morning(t: Harness) -> None:
    await t.run_task(shop.count_bolts)
    assert t.sent(shortages) == []
    await t.send(orders, Order(article="bolt", pieces=60))
    await t.drain()
    await t.run_task(shop.count_bolts)
    assert t.sent(shortages) == [Shortage(article="bolt", left=40)]


async def test_a_function_of_an_event_alone(supplier: Supplier) -> None:
    await order_again(Event.of(shortages, Shortage(article="bolt", left=3), id="7-0", partition=2))
    assert supplier.calls == ["2-7-0"]
