"""The app whose handler waits for each event, as for the answer of another service."""

from __future__ import annotations

import asyncio
from typing import Any

from benchmarks.gate import Gate
from benchmarks.job import job
from benchmarks.records import declare
from runnel import App

#: Events of a partition that are handled at the same time.
CONCURRENCY = 100

JOB = job()
gate = Gate(JOB)
app = App("bench", redis_url=JOB.url)
stream = declare(app, JOB.record, JOB.partitions)


async def call(_: Any) -> None:
    """Take a while."""
    await gate.wait()
    if JOB.hold:
        await asyncio.sleep(JOB.hold)
    gate.hit()


app.on(stream, name=JOB.name, concurrency=CONCURRENCY if JOB.form == "together" else 1)(call)
