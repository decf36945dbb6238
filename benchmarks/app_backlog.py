"""The app whose throughput is measured; `runnel worker` runs it, as it runs the apps of users."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from benchmarks.gate import Gate
from benchmarks.job import job
from benchmarks.records import declare
from runnel import App, Events
from runnel.metrics.counting import Counting
from runnel.otel import instrument

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


def plain(_: Any) -> None:
    """A plain function of one record, which Runnel calls in a thread."""
    gate.wait_in_thread()
    gate.hit_in_thread()


if JOB.form == "counted":
    app.observe(Counting())
elif JOB.form.startswith("traced"):
    provider = TracerProvider()
    instrument(app, each_event=JOB.form == "traced-each", tracer_provider=provider)

functions = {"on-async": on_async, "plain": plain}
handlers = {"one": one, "each": one, "take": take, "events": raw_events}
handlers |= dict.fromkeys(("counted", "traced", "traced-each"), one)
if JOB.form in functions:
    app.on(stream, name=JOB.name)(functions[JOB.form])
else:
    app.processor(stream, name=JOB.name, commit="each" if JOB.form == "each" else "auto")(
        handlers[JOB.form]
    )
