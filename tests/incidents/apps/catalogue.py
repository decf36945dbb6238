"""A shop with a catalogue: billing finds the prices in catalogue.json, and sets aside what it
cannot bill as dead letters."""

from __future__ import annotations

import json
from pathlib import Path

from runnel import App, DeadLetterMiddleware, Record

app = App("shop", retries=1, backoff=0.05, delivery_timeout=3.0, partition_size=40)
CUSTOMERS = ("ada", "ben", "cleo", "dora", "emil", "fay", "gus", "hugo")
ARTICLES = ("lamp", "chair", "vase")


class Order(Record):
    number: int
    customer: str
    article: str


orders = app.stream("orders", record=Order, partition_by="customer", partition_count=4)


def made_up(number: int) -> Order:
    """What a visitor of the website orders."""
    customer = CUSTOMERS[number % len(CUSTOMERS)]
    return Order(number=number, customer=customer, article=ARTICLES[number % len(ARTICLES)])


@app.on(orders, exception_policy="ignore", middleware=[DeadLetterMiddleware()])
def billing(order: Order) -> None:
    catalogue = json.loads(Path("catalogue.json").read_text())
    if order.article not in catalogue:
        raise LookupError(f"catalogue.json has no {order.article}")
    with Path("ledger.csv").open("a") as ledger:
        ledger.write(f"{order.number},{order.customer},{catalogue[order.article]}\n")
