"""A process that sends with Runnel, a thousand records in a call, each time that stdin says so."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from benchmarks.gate import say
from benchmarks.job import job
from benchmarks.records import KINDS, declare
from runnel import App

#: Records in one call.
BULK = 1000


async def main(count: int) -> None:
    """So many records for each line."""
    app = App("bench-bulk", redis_url=job().url)
    stream = declare(app, "order", job().partitions)
    records = [KINDS["order"].make(number) for number in range(count)]
    # Connections, scripts and agreement come before the clock.
    await stream.send(*records[:BULK])
    say(ready=True)
    while await asyncio.to_thread(sys.stdin.readline):
        began, cpu = time.perf_counter(), sum(os.times()[:2])
        for first in range(0, count, BULK):
            await stream.send(*records[first : first + BULK])
        seconds = time.perf_counter() - began
        client = (sum(os.times()[:2]) - cpu) / count * 1e6
        say(round={"rate": count / seconds, "client_us": client})
        say(ready=True)
    await app.close()


if __name__ == "__main__":
    work = main(int(sys.argv[1]))
    try:
        import uvloop
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
