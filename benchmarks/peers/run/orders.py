"""What Runnel and the Runnel of 2020 have in common as peers. Fit for Python 3.8."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from common import Peer, Values

from runnel import App, Record


class Order(Record):
    order_id: int
    created_at: datetime
    amount: int


class TimedOrder(Record):
    order_id: int
    created_at: datetime
    amount: int
    sent: float


class Orders(Peer):
    """An app whose handlers have a record at a time, or use `take(100)` with further arguments."""

    def __init__(self, app: App, **take: Any) -> None:
        self.app = app
        self.take = take
        options: Any = {"partition_by": "order_id", "partition_size": 1_000_000}
        self.orders = app.stream("orders", record=Order, **options)
        self.timed = app.stream("timed", record=TimedOrder, **options)

    def make(self, values: Values) -> Any:
        return (TimedOrder if "sent" in values else Order)(**values)

    async def send(self, record: Any) -> None:
        await (self.orders if isinstance(record, Order) else self.timed).send(record)

    async def send_many(self, records: list[Any]) -> None:
        await self.orders.send(*records)

    def work(self, action: str, handled: Callable[..., None]) -> None:
        async def one(events: Any) -> None:
            async for _ in events.records():
                handled()

        async def batch(events: Any) -> None:
            async for records in events.take(100, **self.take).records():
                handled(count=len(records))

        async def listen(events: Any) -> None:
            async for record in events.records():
                handled(record.sent)

        handler = {"one": one, "batch": batch, "listen": listen}[action]
        self.run_worker(self.timed if action == "listen" else self.orders, handler)

    def run_worker(self, stream: Any, handler: Any) -> None:
        """Run a worker with this handler."""
        raise NotImplementedError("each library has its own")
