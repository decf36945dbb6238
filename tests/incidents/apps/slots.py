"""A shop whose customers may cancel for a moment: an order reaches billing DELAY seconds later."""

from __future__ import annotations

from pathlib import Path

from runnel import App, Record

app = App("shop", retries=2, backoff=0.1, delivery_timeout=3.0)
CUSTOMERS = ("ada", "ben", "cleo", "dora", "emil", "fay", "gus", "hugo")
DELAY = 3.0


class Order(Record):
    number: int
    customer: str
    article: str
    cents: int


orders = app.stream("orders", record=Order, partition_by="customer", partition_count=4)


def made_up(number: int) -> Order:
    """What a visitor of the website orders."""
    customer = CUSTOMERS[number % len(CUSTOMERS)]
    return Order(number=number, customer=customer, article="lamp", cents=1900 + number)


@app.on(orders)
def billing(order: Order) -> None:
    with Path("ledger.csv").open("a") as ledger:
        ledger.write(f"{order.number},{order.customer},{order.cents}\n")
