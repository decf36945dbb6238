"""A shop whose handlers are tested without a server."""

from __future__ import annotations

from typing import Any

from runnel import App, Record, Stream
from runnel.table import Table

#: An hour: no test here waits for it.
HOUR = 3600.0


class Order(Record):
    shop: str
    amount: int = 0


class Alert(Record):
    shop: str
    why: str


class Shop:
    """An app of its own for each test."""

    def __init__(self, **options: Any) -> None:
        self.app = App("shop", backoff=HOUR, backoff_max=HOUR)
        self.orders = self.app.stream("orders", record=Order, partition_by="shop", **options)
        self.alerts: Stream[Alert] = self.app.stream("alerts", record=Alert, partition_by="shop")
        self.sums: Table[int] = self.app.table("sums", self.orders, value=int, default=0)


def order(amount: int, shop: str = "a") -> Order:
    return Order(shop=shop, amount=amount)
