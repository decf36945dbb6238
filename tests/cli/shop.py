"""An app for tests of the command line."""

from __future__ import annotations

from datetime import datetime, timedelta

from runnel import App, DeadLetterMiddleware, Events, Record

app = App("shop")
bare = App("bare", max_record_bytes=1000)


class Order(Record):
    order_id: int
    created_at: datetime
    amount: int


class Named(Record):
    name: str | None


orders = app.stream("orders", record=Order, partition_by="order_id", partition_count=4)
named = app.stream("named", record=Named, partition_by="name", partition_count=1)
initials = bare.stream("initials", record=Named, partition_by=lambda named: str(named.name)[0])
small = bare.stream("small", record=Named, partition_by="name", partition_count=1)
tight = app.stream(
    "tight", record=Order, partition_by="order_id", partition_count=1, partition_size=10
)
vessel = app.stream(
    "vessel", record=Order, partition_by="order_id", partition_count=2, partition_size=2
)
logs = app.stream(
    "logs",
    record=Order,
    partition_by="order_id",
    partition_count=1,
    partition_size=5,
    retain="until_full",
)
brief = app.stream(
    "brief",
    record=Order,
    partition_by="order_id",
    partition_count=2,
    partition_size=100,
    max_age=timedelta(days=7),
    retain="until_full",
)
other = 5


@app.processor(orders)
async def printer(events: Events[Order]) -> None:
    async for order in events.records():
        print(order.amount, flush=True)


@app.processor(tight)
async def tightly(events: Events[Order]) -> None:
    async for _ in events.records():
        pass


@app.processor(
    tight, name="picky", retries=0, exception_policy="ignore", middleware=[DeadLetterMiddleware()]
)
async def picky(events: Events[Order]) -> None:
    async for order in events.records():
        raise ValueError(f"{order.amount} is too much")


@app.processor(
    vessel,
    name="strict",
    retries=0,
    middleware=[DeadLetterMiddleware()],
    exception_policy="quarantine",
)
async def strict(events: Events[Order]) -> None:
    async for order in events.records():
        raise ValueError(f"{order.amount} is too much")
