"""An app for tests of the command line."""

from __future__ import annotations

from datetime import datetime

from runnel import App, Events, Record

app = App("shop")


class Order(Record):
    order_id: int
    created_at: datetime
    amount: int


orders = app.stream("orders", record=Order, partition_by="order_id", partition_count=4)
other = 5


@app.processor(orders)
async def printer(events: Events[Order]) -> None:
    async for order in events.records():
        print(order.amount, flush=True)
