"""The app of clients/typescript/test/child.ts in Python: its workers are in the same group."""

from __future__ import annotations

import asyncio
import os

from runnel import App, Event, Events, Record

app = App(os.environ.get("APP", "app"), session_timeout=0.6, rebalance_delay=0.0)


class Item(Record):
    """What is added up."""

    key: str
    number: int


class Total(Record):
    """The sum of a key so far."""

    key: str
    total: int


items = app.stream("items", record=Item, partition_by="key", partition_count=4)
totals = app.stream("totals", record=Total, partition_by="key", partition_count=3)
sum_ = app.table("sum", items, value=int, default=0)


@app.processor(items)
async def sums(events: Events[Item]) -> None:
    """Add up the numbers of each key, and emit each total."""
    event: Event[Item]
    async for event in events:
        key = event.record.key
        sum_[key] += event.record.number
        events.emit(totals, Total(key=key, total=sum_[key]))
        await asyncio.sleep(0.002)
