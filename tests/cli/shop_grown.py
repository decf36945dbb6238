"""The same app with another partition count."""

from __future__ import annotations

from runnel import App, Events
from tests.cli.shop import Order

app = App("shop")
orders = app.stream("orders", record=Order, partition_by="order_id", partition_count=8)


@app.processor(orders)
async def printer(events: Events[Order]) -> None:
    async for _ in events.records():
        pass
