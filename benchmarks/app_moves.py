"""The app whose partitions move: its handler notes when it began and ended each event.

The process loads everything, and joins its group when stdin says so: its start does not disturb the
members whose gaps are measured.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import runnel.worker.worker  # noqa: F401
from benchmarks.job import job, say
from benchmarks.records import declare
from runnel import App, Events

with suppress(ImportError):
    import uvloop  # noqa: F401

JOB = job()
app = App("bench", redis_url=JOB.url)
stream = declare(app, JOB.record, JOB.partitions)
totals = app.table("totals", stream, value=int, default=0) if JOB.form == "state" else None
#: Partition, when the handler began and ended an event, on the system's monotonic clock, and how
#: many seconds this process had waited for a core until then.
moments: list[tuple[int, float, float, float]] = []
try:
    SCHEDULED = os.open("/proc/self/schedstat", os.O_RDONLY)
except OSError:
    SCHEDULED = -1


def waited() -> float:
    """Seconds for which this process was ready to run and had no core; 0 if that is not known.

    See proc(5): the second number, in nanoseconds.
    """
    return int(os.pread(SCHEDULED, 100, 0).split()[1]) / 1e9 if SCHEDULED >= 0 else 0.0


@app.processor(stream, name=JOB.name)
async def hold(events: Events[Any]) -> None:
    """Hold each event for a while."""
    async for event in events:
        began = time.monotonic()
        if totals is not None:
            totals[event.record.order_id] += 1
        await asyncio.sleep(JOB.hold)
        moments.append((events.partition, began, time.monotonic(), waited()))


def report() -> None:
    """Report the events since the last report."""
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
