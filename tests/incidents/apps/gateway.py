"""A shop that takes money: billing asks the payment gateway, whose port is in gateway.txt."""

from __future__ import annotations

import socket
from pathlib import Path

from runnel import App, Record

app = App("shop", retries=2, backoff=0.1, delivery_timeout=3.0, shutdown_timeout=3.0)
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
    port = int(Path("gateway.txt").read_text())
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{order.number} {order.cents}\n".encode())
        answer = connection.makefile("rb").readline()
    if answer != b"paid\n":
        raise ConnectionError(f"the gateway has answered {answer!r}")
    with Path("ledger.csv").open("a") as ledger:
        ledger.write(f"{order.number},{order.customer},{order.cents}\n")
