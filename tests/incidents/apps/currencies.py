"""A shop that sells in several currencies: billing finds their rates in rates.json."""

from __future__ import annotations

import json
from pathlib import Path

from runnel import App, Record

app = App("shop", retries=1, backoff=0.1, delivery_timeout=3.0)
CUSTOMERS = {"ada": "EUR", "ben": "EUR", "cleo": "USD", "dora": "EUR", "emil": "CHF", "fay": "USD"}


class Order(Record):
    number: int
    customer: str
    currency: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer", partition_count=4)


def made_up(number: int) -> Order:
    """What a visitor of the website orders."""
    customer = list(CUSTOMERS)[number % len(CUSTOMERS)]
    return Order(number=number, customer=customer, currency=CUSTOMERS[customer], amount=1900)


@app.on(orders, exception_policy="park")
def billing(order: Order) -> None:
    rates = json.loads(Path("rates.json").read_text())
    if order.currency not in rates:
        raise LookupError(f"rates.json has no rate for {order.currency}")
    with Path("ledger.csv").open("a") as ledger:
        ledger.write(f"{order.number},{order.customer},{order.amount * rates[order.currency]}\n")
