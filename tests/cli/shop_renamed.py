"""The app of `tests.cli.shop`, with another name of its processor."""

from __future__ import annotations

from runnel import App, Events
from tests.cli.shop import Order

app = App("shop")
orders = app.stream("orders", record=Order, partition_by="order_id", partition_count=4)


@app.processor(orders)
async def printed(events: Events[Order]) -> None:
    async for order in events.records():
        print(order.amount, flush=True)
