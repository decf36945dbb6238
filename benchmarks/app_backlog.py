"""The app whose throughput is measured; `runnel worker` runs it, as it runs the apps of users."""

from __future__ import annotations

from typing import Any

from benchmarks.gate import Gate
from benchmarks.job import job
from benchmarks.records import declare
from runnel import App, Events

JOB = job()
gate = Gate(JOB)
app = App("bench", redis_url=JOB.url)
stream = declare(app, JOB.record, JOB.partitions)


async def one(events: Events[Any]) -> None:
    """One record at a time."""
    await gate.wait()
    hit = gate.hit
    async for _ in events.records():
        hit()


async def take(events: Events[Any]) -> None:
    """Up to a hundred records at a time."""
    await gate.wait()
    async for records in events.take(100).records():
        gate.hit(len(records))


async def raw_events(events: Events[Any]) -> None:
    """One event at a time; the handler does not use its record, so it is not decoded."""
    await gate.wait()
    hit = gate.hit
    async for _ in events:
        hit()


async def on_async(_: Any) -> None:
    """A coroutine function of one record."""
    await gate.wait()
    gate.hit()


def on_sync(_: Any) -> None:
    """A plain function of one record, which Runnel calls in a thread."""
    gate.wait_in_thread()
    gate.hit_in_thread()


match JOB.form:
    case "one":
        app.processor(stream, name=JOB.name)(one)
    case "take":
        app.processor(stream, name=JOB.name)(take)
    case "each":
        app.processor(stream, name=JOB.name, commit="each")(one)
    case "events":
        app.processor(stream, name=JOB.name)(raw_events)
    case "on-async":
        app.on(stream, name=JOB.name)(on_async)
    case "on-sync":
        app.on(stream, name=JOB.name)(on_sync)
    case _:
        raise SystemExit(f"there is no form {JOB.form!r}")
