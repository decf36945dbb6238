from datetime import datetime

from runnel import App, Record

app = App(name="myapp")


class Order(Record):
    order_id: int
    created_at: datetime
    amount: int


orders = app.stream("orders", record=Order, partition_by="order_id")


@app.processor(orders)
async def printer(events):
    async for order in events.records():
        print(order.amount)
