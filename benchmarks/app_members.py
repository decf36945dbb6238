"""The app of a group with many members: each member reports when it gets its first event.

The processor is paused until all members are there, so no gate is needed.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.job import job, say
from benchmarks.records import declare
from runnel import App, Events

JOB = job()
app = App("bench", redis_url=JOB.url)
stream = declare(app, JOB.record, JOB.partitions)
handled = 0


@app.processor(stream, name=JOB.name)
async def one(events: Events[Any]) -> None:
    """One record at a time."""
    global handled
    async for _ in events.records():
        if not handled:
            say(started=time.monotonic())
        handled += 1
