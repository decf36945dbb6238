"""The app whose partitions change hands: its handler notes when it had each event.

It is loaded, and then joins its group once stdin says so: so its start disturbs nobody whose gaps
are measured.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import runnel.worker.worker  # noqa: F401
from benchmarks.gate import say
from benchmarks.job import job
from benchmarks.records import declare
from runnel import App, Events

with suppress(ImportError):
    import uvloop  # noqa: F401

JOB = job()
app = App("bench", redis_url=JOB.url)
stream = declare(app, JOB.record, JOB.partitions)
#: Partition, and when its event was begun and ended, on the system's monotonic clock.
moments: list[tuple[int, float, float]] = []


@app.processor(stream, name=JOB.name)
async def hold(events: Events[Any]) -> None:
    """Hold each event for a while."""
    async for _ in events:
        began = time.monotonic()
        await asyncio.sleep(JOB.hold)
        moments.append((events.partition, began, time.monotonic()))


def report() -> None:
    """Tell what happened since the last time."""
    count = len(moments)
    say(moments=moments[:count])
    del moments[:count]


def listen() -> None:
    """Report when asked to."""
    for line in sys.stdin:
        if line.strip() == "report":
            report()


say(ready=True)
sys.stdin.readline()
threading.Thread(target=listen, daemon=True).start()
atexit.register(report)
