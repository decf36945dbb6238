"""The app with a table, or one that emits, whose throughput is measured; and the same handlers
without effects."""

from __future__ import annotations

from typing import Any

from benchmarks.gate import Gate
from benchmarks.job import job
from benchmarks.records import Payment, declare
from runnel import App, Events, Stream, Table

JOB = job()
gate = Gate(JOB)
app = App("bench", redis_url=JOB.url)
payments = declare(app, JOB.record, JOB.partitions)


def declare_totals() -> Table[int]:
    """A table of its own for each run: one that another processor has written is refused."""
    return app.table(f"totals-{JOB.name}", payments, value=int, default=0)


async def plain(events: Events[Payment]) -> None:
    """One payment at a time, without a table."""
    await gate.wait()
    hit = gate.hit
    async for _ in events.records():
        hit()


async def plain_take(events: Events[Payment]) -> None:
    """Up to a hundred payments at a time, without a table."""
    await gate.wait()
    async for batch in events.take(100).records():
        gate.hit(len(batch))


def with_state() -> Any:
    """A total for each account, one payment at a time."""
    totals = declare_totals()

    async def add(events: Events[Payment]) -> None:
        await gate.wait()
        hit = gate.hit
        async for payment in events.records():
            totals[payment.account] += payment.amount
            hit()

    return add


def with_state_take() -> Any:
    """The same, up to a hundred payments at a time."""
    totals = declare_totals()

    async def add(events: Events[Payment]) -> None:
        await gate.wait()
        async for batch in events.take(100).records():
            for payment in batch:
                totals[payment.account] += payment.amount
            gate.hit(len(batch))

    return add


def emitting() -> Any:
    """Each payment goes to another stream, whose partitions are those of the payments or not."""
    target: Stream[Payment]
    if JOB.form == "emit-same":
        target = payments.derive(f"paid-{JOB.name}", Payment)
    else:
        target = app.stream(
            f"paid-{JOB.name}",
            record=Payment,
            partition_by="amount",
            partition_count=JOB.partitions,
            partition_size=1_000_000,
        )

    async def emit(events: Events[Payment]) -> None:
        await gate.wait()
        hit = gate.hit
        async for payment in events.records():
            events.emit(target, payment)
            hit()

    return emit


handlers = {
    "one": lambda: plain,
    "take": lambda: plain_take,
    "state-one": with_state,
    "state-take": with_state_take,
    "emit-same": emitting,
    "emit-rekeyed": emitting,
}
app.processor(payments, name=JOB.name)(handlers[JOB.form]())
