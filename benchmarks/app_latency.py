"""The app whose latency is measured: its handler notes when it gets an event, and when that event
is committed."""

from __future__ import annotations

import time

from benchmarks.gate import Times
from benchmarks.job import job
from benchmarks.records import TimedOrder, declare
from runnel import App, Events

JOB = job()
app = App("bench", redis_url=JOB.url)
stream = declare(app, "timed", JOB.partitions)
times = Times()


@app.processor(stream, name=JOB.name)
async def timed(events: Events[TimedOrder]) -> None:
    """One record at a time, each committed before the next."""
    async for record in events.records():
        handled = time.monotonic()
        await events.commit()
        times.add(record.sent, handled, time.monotonic())
