"""A shop that sends receipts: billing writes each order into the ledger and emits its receipt, and
post sends the receipt to the customer."""

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


class Receipt(Record):
    number: int
    customer: str


orders = app.stream("orders", record=Order, partition_by="customer", partition_count=4)
receipts = app.stream("receipts", record=Receipt, partition_by="customer", partition_count=4)


def made_up(number: int) -> Order:
    """What a visitor of the website orders."""
    customer = CUSTOMERS[number % len(CUSTOMERS)]
    return Order(number=number, customer=customer, article="lamp", cents=1900 + number)


@app.on(orders)
def billing(order: Order) -> None:
    with Path("ledger.csv").open("a") as ledger:
        ledger.write(f"{order.number},{order.customer},{order.cents}\n")
    receipts.emit(Receipt(number=order.number, customer=order.customer))


@app.on(receipts)
def post(receipt: Receipt) -> None:
    with Path("posted.csv").open("a") as posted:
        posted.write(f"{receipt.number},{receipt.customer}\n")
