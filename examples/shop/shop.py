"""A shop with its tests: orders take from the stock, and what runs low is ordered again.

    orders ── reserve ──> stock (a table)
                └───────> shortages ── reorder ──> the supplier

$ runnel worker shop:app
$ pytest
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from runnel import App, DeadLetterMiddleware, Event, Events, Record

app = App("shop")


class Order(Record):
    article: str
    pieces: int


class Shortage(Record):
    article: str
    left: int


orders = app.stream("orders", record=Order, partition_by="article")
stock = app.table("stock", orders, value=int, default=100)
shortages = app.stream("shortages", record=Shortage, partition_by="article")

#: Orders at the supplier, under a key by which it recognises a repeat. A test has another one.
Supplier = Callable[[str, str], Awaitable[None]]


async def by_mail(key: str, article: str) -> None:
    print(f"to the supplier: more of {article}, please ({key})")


supplier: list[Supplier] = [by_mail]


@app.on(orders, exception_policy="ignore", retries=1, middleware=[DeadLetterMiddleware()])
async def reserve(order: Order) -> None:
    left = stock[order.article] - order.pieces
    if left < 0:
        raise ValueError(f"{order.pieces} pieces of {order.article} are more than there are")
    before, stock[order.article] = stock[order.article], left
    if left < 10 <= before:
        shortages.emit(Shortage(article=order.article, left=left))  # With the stock, or not at all.


async def order_again(event: Event[Shortage]) -> None:
    """Orders once for each shortage, however often it is repeated."""
    await supplier[0](f"{event.partition}-{event.id}", event.record.article)


@app.processor(shortages, backoff=60.0)
async def reorder(events: Events[Shortage]) -> None:
    async for event in events:
        await order_again(event)


@app.crontab("0 6 * * *", on_leader=True)
async def count_bolts() -> None:
    """Every morning."""
    if await stock.read("bolt") < 50:
        await shortages.send(Shortage(article="bolt", left=await stock.read("bolt")))
