"""An app for worker processes under test: writes each effect as a line to the file `$EFFECTS`.

A line is ``key number worker-pid``. `$DELAY` is what an event takes, in seconds. An event with the
fault "long" is logged when it is taken, and then takes for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os

from runnel import App, DeadLetterMiddleware, Events, ExceptionPolicy, Record

app = App(
    "ledger", session_timeout=1.5, rebalance_timeout=5, rebalance_delay=0.1, backoff=0.01, retries=1
)


class Entry(Record):
    key: int
    number: int
    fault: str = ""


entries = app.stream("entries", record=Entry, partition_by="key", partition_count=8)
_effects = (
    os.open(os.environ["EFFECTS"], os.O_WRONLY | os.O_APPEND) if "EFFECTS" in os.environ else 1
)
_delay = float(os.environ.get("DELAY", "0"))


async def apply(entry: Entry) -> None:
    """The effect of one entry."""
    if entry.fault == "raise":
        raise ValueError("a fault on purpose")
    if entry.fault == "exit":
        os._exit(7)
    if entry.fault == "long":
        logging.getLogger("ledger").warning("key %d is taken", entry.key)
        await asyncio.Event().wait()
    await asyncio.sleep(_delay)
    os.write(_effects, f"{entry.key} {entry.number} {os.getpid()}\n".encode())


@app.processor(entries, exception_policy=ExceptionPolicy.HALT)
async def book(events: Events[Entry]) -> None:
    async for entry in events.records():
        await apply(entry)


@app.processor(
    entries, exception_policy=ExceptionPolicy.IGNORE, middleware=[DeadLetterMiddleware()]
)
async def careless(events: Events[Entry]) -> None:
    async for entry in events.records():
        await apply(entry)


@app.processor(entries, exception_policy=ExceptionPolicy.QUARANTINE)
async def careful(events: Events[Entry]) -> None:
    async for entry in events.records():
        await apply(entry)
