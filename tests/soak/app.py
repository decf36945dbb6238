"""The app that the workers of a soak run, a pipeline of two stages. `book` sums the numbers of each
key in a table, and emits a posting for each event, to a stream with another key. `settle` counts
these. `audit` is a second processor of the first stream, and `consult` a third, which has several
events of a partition at the same time. `charge`, a fourth, fails now and then, and has such events
later. `remind` counts events that are sent for later.

Each handler writes each event that it has finished as a line to its worker's own file.
A line is ``processor partition key number id epoch start end``, times in seconds of the machine's
monotonic clock. Each line is one write at the end of the file, so a killed worker leaves whole
lines. SIGUSR1 makes the next handler block the event loop for longer than a session, SIGUSR2 for
longer than `max_block`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from dataclasses import replace
from typing import Any, TypeVar

from runnel import App, Event, Events, Record

SESSION = float(os.environ.get("SOAK_SESSION", "1"))
PARTITIONS = 12
#: The keys of postings.
BUCKETS = 10
PREFETCH = 20
#: Each event with a number that this divides may fail in `charge`.
SETBACK = 10
#: How many events of a partition `consult` has at the same time.
CONCURRENCY = 8
REBALANCE_TIMEOUT = 5.0
MAX_BLOCK = 2.5 * SESSION

app = App(
    "soak",
    session_timeout=SESSION,
    rebalance_timeout=REBALANCE_TIMEOUT,
    rebalance_delay=0.1,
    max_block=MAX_BLOCK,
    shutdown_timeout=5.0,
    delivery_timeout=60.0,
    prefetch=PREFETCH,
)


class Entry(Record):
    key: str
    number: int


class Posting(Record):
    bucket: int
    key: str
    number: int


entries = app.stream(
    "entries", record=Entry, partition_by="key", partition_count=PARTITIONS, partition_size=500
)
#: Small, so that it is full now and then.
postings = app.stream(
    "postings", record=Posting, partition_by="bucket", partition_count=6, partition_size=300
)


class Reminder(Record):
    key: str
    number: int


#: Its events are sent with a delay.
reminders = app.stream(
    "reminders", record=Reminder, partition_by="key", partition_count=4, partition_size=500
)
sums = app.table("sums", entries, value=int, default=0, processor="book")
asked = app.table("asked", entries, value=int, default=0, processor="consult")
charged = app.table("charged", entries, value=int, default=0, processor="charge")
reminded = app.table("reminded", reminders, value=int, default=0, processor="remind")
counts = app.table("counts", postings, value=int, default=0, processor="settle")
_effects = os.open(os.environ.get("SOAK_EFFECTS", os.devnull), os.O_WRONLY | os.O_APPEND)
_delay = float(os.environ.get("SOAK_DELAY", "0.001"))
#: Seconds for which the next handler blocks the event loop.
_block = [0.0]


def obey_signals() -> None:
    """Make the next handler block when SIGUSR1 or SIGUSR2 arrives."""
    for number, seconds in ((signal.SIGUSR1, 1.5 * SESSION), (signal.SIGUSR2, MAX_BLOCK * 1.6)):
        signal.signal(number, lambda *_, seconds=seconds: _block.__setitem__(0, seconds))


E = TypeVar("E", Entry, Posting, Reminder)


async def apply(processor: str, source: Any, event: Event[E], times: int = 1) -> E:
    """Write the effect of one event, which came from its `Events` or its `EventRun`. It takes so
    many times as long as others."""
    start = time.monotonic()
    if _block[0]:
        seconds, _block[0] = _block[0], 0.0
        time.sleep(seconds)  # noqa: ASYNC251
    await asyncio.sleep(_delay * times)
    state = source._queue.state if isinstance(source, Events) else source._state
    entry, epoch = event.record, state.token.epoch
    line = (
        f"{processor} {event.partition} {entry.key} {entry.number} {event.id} {epoch} "
        f"{start:.6f} {time.monotonic():.6f}\n"
    )
    os.write(_effects, line.encode())
    return entry


@app.processor(entries)
async def book(events: Events[Entry]) -> None:
    async for event in events:
        entry = await apply("book", events, event)
        sums[entry.key] += entry.number
        bucket = entry.number % BUCKETS
        events.emit(postings, Posting(bucket=bucket, key=entry.key, number=entry.number))


@app.processor(postings)
async def settle(events: Events[Posting]) -> None:
    async for event in events:
        posting = await apply("settle", events, event)
        counts[posting.bucket] += 1


@app.processor(reminders)
async def remind(events: Events[Reminder]) -> None:
    async for event in events:
        reminder = await apply("remind", events, event)
        reminded[reminder.key] += 1


@app.processor(entries)
async def audit(events: Events[Entry]) -> None:
    """The one that operators pause and reset."""
    async for event in events:
        await apply("audit", events, event)


@app.processor(
    entries, exception_policy="retry_later", retries=1_000_000, backoff=0.2, backoff_max=1.0
)
async def charge(events: Events[Entry]) -> None:
    """Every second try of some events fails, and they step aside."""
    async for event in events:
        if event.record.number % SETBACK == 0 and random.random() < 0.5:
            raise RuntimeError("it is refused this time")
        entry = await apply("charge", events, event)
        charged[entry.key] += 1


@app.on(entries, concurrency=CONCURRENCY)
async def consult(entry: Entry) -> None:
    """What it does is in `_consult`: a function of one record does not learn the id."""


async def _consult(run: Any) -> None:
    """Counts each event by its key; some take longer."""
    async for event in run:
        asked[event.record.key] += 1
        await apply("consult", run, event, event.record.number % 5)


app.processors["consult"] = replace(app.processors["consult"], handler=_consult)

if "SOAK_EFFECTS" in os.environ:
    obey_signals()
