"""An app whose processors set events aside: `patient` parks them, `picky` keeps dead letters. While
BROKEN is set, both refuse amounts below zero."""

from __future__ import annotations

import os

from runnel import App, DeadLetter, DeadLetterMiddleware, Record

app = App("parked", retries=0, park_limit=5)


class Order(Record):
    customer: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer", partition_count=1)


def check(order: Order) -> None:
    if order.amount < 0 and "BROKEN" in os.environ:
        raise ValueError(f"{order.amount} is too little")
    print(order.customer, order.amount, flush=True)


@app.on(orders, exception_policy="park")
async def patient(order: Order) -> None:
    check(order)


@app.on(orders, exception_policy="ignore", middleware=[DeadLetterMiddleware()])
async def picky(order: Order) -> None:
    check(order)


@app.on(orders.dead_letters("picky"))
async def reader(letter: DeadLetter) -> None:
    """Reads the letters of `picky`, if it runs."""
