"""The app of a group with many members: each tells when it had its first event.

Its processor is paused until all are there, so no gate is needed.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.gate import say
from benchmarks.job import job
from benchmarks.records import declare
from runnel import App, Events

JOB = job()
app = App("bench", redis_url=JOB.url)
stream = declare(app, JOB.record, JOB.partitions)
handled = 0


@app.processor(stream, name=JOB.name)
async def one(events: Events[Any]) -> None:
    """One record at a time, which is counted."""
    global handled
    async for _ in events.records():
        if not handled:
            say(started=time.monotonic())
        handled += 1
