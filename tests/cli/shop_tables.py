"""An app with tables, for tests of the command line."""

from __future__ import annotations

import asyncio

from runnel import App, Events, Record

app = App("shop", rebalance_delay=0.0)
#: Set for the events of a visitor who is named stop.
waits, go_on = asyncio.Event(), asyncio.Event()


class Visit(Record):
    name: str
    seconds: int


visits = app.stream("visits", record=Visit, partition_by="name", partition_count=4)
totals = app.table("totals", visits, value=int, default=0)
longest = app.table("longest", visits, value=Visit, processor="counter")


@app.processor(visits)
async def counter(events: Events[Visit]) -> None:
    async for visit in events.records():
        if visit.name != "nobody":
            totals[visit.name] += visit.seconds
        if visit.name == "stop" and not go_on.is_set():
            waits.set()
            await go_on.wait()
