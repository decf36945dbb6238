"""An app of two stages for worker processes under test, over real flights.

`fly` counts the miles of each aircraft in a table, and emits each flight twice: to `landings`,
which is partitioned by airport, and to `logbook`, which is derived. `land` counts the landings at
each airport. `$DELAY` is what an event takes, in seconds, and `$FAILING` the share of events that
fail after their handler has written and emitted.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

from runnel import App, Events, ExceptionPolicy, Record, Stream

FLIGHTS = Path(__file__).parent.parent.parent / "examples/flights-2013-01.jsonl.gz"

app = App(
    "flown",
    session_timeout=1.0,
    rebalance_timeout=5,
    rebalance_delay=0.1,
    backoff=0.01,
    backoff_max=0.05,
    retries=1000,
)


class Flight(Record):
    number: int
    tailnum: str
    airport: str
    miles: int


flights = app.stream("flights", record=Flight, partition_by="tailnum", partition_count=8)
landings = app.stream("landings", record=Flight, partition_by="airport", partition_count=6)
logbook: Stream[Flight] = flights.derive("logbook", Flight)
miles = app.table("miles", flights, value=int, default=0, processor="fly")
landed = app.table("landed", landings, value=int, default=0, processor="land")
_delay = float(os.environ.get("DELAY", "0"))
_failing = float(os.environ.get("FAILING", "0"))


def _fail_sometimes() -> None:
    if random.random() < _failing:
        raise ValueError("a fault on purpose")


@app.processor(flights, exception_policy=ExceptionPolicy.HALT)
async def fly(events: Events[Flight]) -> None:
    async for flight in events.records():
        miles[flight.tailnum] += flight.miles
        events.emit(landings, flight)
        events.emit(logbook, flight)
        await asyncio.sleep(_delay)
        _fail_sometimes()


@app.processor(landings, exception_policy=ExceptionPolicy.HALT)
async def land(events: Events[Flight]) -> None:
    async for batch in events.take(20).records():
        for flight in batch:
            landed[flight.airport] += 1
        await asyncio.sleep(_delay)
        _fail_sometimes()


def real_flights() -> Iterator[Flight]:
    """Departures of January 2013 in New York, numbered, again and again."""
    numbers = itertools.count(1)
    while True:
        with gzip.open(FLIGHTS, "rt") as lines:
            for each in map(json.loads, lines):
                yield Flight(
                    number=next(numbers),
                    tailnum=each["tailnum"],
                    airport=each["dest"],
                    miles=each["distance"],
                )
