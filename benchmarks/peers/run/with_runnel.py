"""Runnel itself, measured in the same way as its peers. Its worker is started by the command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import uvloop
from common import URL, Peer, Values, main

from runnel import App, Events, Record
from runnel.cli import main as command

app = App("bench", redis_url=URL)


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


class Runnel(Peer):
    """`one` and `listen`: a record at a time. `batch`: `take(100)`."""

    def make(self, values: Values) -> Any:
        return (TimedOrder if "sent" in values else Order)(**values)

    async def send(self, record: Any) -> None:
        await (orders if isinstance(record, Order) else timed).send(record)

    async def send_many(self, records: list[Any]) -> None:
        await orders.send(*records)

    def work(self, variant: str, handled: Callable[..., None]) -> None:
        async def one(events: Events[Order]) -> None:
            async for _ in events.records():
                handled()

        async def listen(events: Events[TimedOrder]) -> None:
            async for record in events.records():
                handled(record.sent)

        async def batch(events: Events[Order]) -> None:
            async for records in events.take(100).records():
                handled(count=len(records))

        handler = {"one": one, "listen": listen, "batch": batch}[variant]
        app.processor(timed if variant == "listen" else orders, name="p")(handler)
        sys.modules["with_runnel"] = sys.modules["__main__"]
        command(["worker", "with_runnel:app", "--log-level", "warning"])

    def run(self, work: Any) -> None:
        uvloop.run(work)


if __name__ == "__main__":
    main(Runnel())
