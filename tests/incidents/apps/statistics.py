"""A shop on a small server: it keeps few orders. Billing writes each into the ledger, and
statistics count them by article."""

from __future__ import annotations

from pathlib import Path

from runnel import App, Record

app = App("shop", retries=2, backoff=0.1, delivery_timeout=3.0, partition_size=40)
CUSTOMERS = ("ada", "ben", "cleo", "dora", "emil", "fay", "gus", "hugo")


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


@app.on(orders)
def statistics(order: Order) -> None:
    with Path("statistics.csv").open("a") as counts:
        counts.write(f"{order.article}\n")
