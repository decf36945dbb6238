"""The Runnel of 2020 with the versions that it was made with; for Python 3.8."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from common import URL, Peer, Values, main

from runnel import App, Record
from runnel.worker import Worker

# The delays concern the start only, which is not measured.
app = App(
    name="bench",
    redis_url=URL,
    log_level="critical",
    default_join_delay=0,
    default_assignment_sleep=0.2,
)


class Order(Record):
    order_id: int
    created_at: datetime
    amount: int


class TimedOrder(Record):
    order_id: int
    created_at: datetime
    amount: int
    sent: float


orders = app.stream("orders", record=Order, partition_by="order_id", partition_size=1_000_000)
timed = app.stream("timed", record=TimedOrder, partition_by="order_id", partition_size=1_000_000)


class Runnel2020(Peer):
    """`one` and `listen`: a record at a time. `batch`: `take(100)`, which gives out a batch when it
    is full or has waited for `within`; a short `within` makes least of its pauses."""

    def make(self, values: Values) -> Any:
        return (TimedOrder if "sent" in values else Order)(**values)

    async def send(self, record: Any) -> None:
        await (orders if isinstance(record, Order) else timed).send(record)

    async def send_many(self, records: list[Any]) -> None:
        await orders.send(*records)

    def work(self, variant: str, handled: Callable[..., None]) -> None:
        async def one(events: Any) -> None:
            async for _ in events.records():
                handled()

        async def listen(events: Any) -> None:
            async for record in events.records():
                handled(record.sent)

        async def batch(events: Any) -> None:
            async for records in events.take(100, within=0.01).records():
                handled(count=len(records))

        handler = {"one": one, "listen": listen, "batch": batch}[variant]
        stream = timed if variant == "listen" else orders
        app.processor(stream, prefetch_count=100)(handler)
        Worker(app).start()


if __name__ == "__main__":
    main(Runnel2020())
