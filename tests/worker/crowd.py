"""An app for worker processes, whose function has many events of a partition at the same time.

Each event is counted in a table, emitted, and written as a line to the file `$EFFECTS`: ``key
number worker-pid start end``, with times of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import os
import time

from runnel import App, Record

app = App(
    "crowd", session_timeout=1.5, rebalance_timeout=5, rebalance_delay=0.1, backoff=0.01, retries=1
)


class Call(Record):
    key: int
    number: int


class Called(Record):
    key: int
    number: int


#: Few partitions, so that each has many keys.
calls = app.stream("calls", record=Call, partition_by="key", partition_count=4)
called = app.stream("called", record=Called, partition_by="key", partition_count=2)
counts = app.table("counts", calls, value=int, default=0)
_effects = os.open(os.environ.get("EFFECTS", os.devnull), os.O_WRONLY | os.O_APPEND)
_delay = float(os.environ.get("DELAY", "0"))


@app.on(calls, concurrency=16)
async def call(record: Call) -> None:
    start = time.monotonic()
    counts[record.key] += 1
    called.emit(Called(key=record.key, number=record.number))
    # Some take long, so that many are finished beyond them.
    await asyncio.sleep(_delay * (10 if record.number % 7 == 3 else 1))
    line = f"{record.key} {record.number} {os.getpid()} {start:.6f} {time.monotonic():.6f}\n"
    os.write(_effects, line.encode())
