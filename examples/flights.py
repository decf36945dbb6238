"""The app of `runnel demo`: totals per aircraft, from the departures of January 2013 in New York.

``flights-2013-01.jsonl.gz`` is derived from the public-domain (CC0) nycflights13 data set. Each
line is one departure as a JSON object, in the order of time.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import datetime
from functools import cache

from runnel import App, Events, Record

app = App("flights", session_timeout=2.0, rebalance_delay=0.2)


class Departure(Record):
    tailnum: str
    carrier: str
    flight: int
    origin: str
    dest: str
    departed_at: datetime
    dep_delay: int | None
    arr_delay: int | None
    distance: int
    air_time: int | None


departures = app.stream("departures", record=Departure, partition_by="tailnum", partition_count=12)


@cache
def effects() -> int:
    """The file to which each worker appends the effect of each departure, as a line of JSON."""
    name = os.environ.get("FLIGHTS_EFFECTS", "flights-effects.jsonl")
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)


@app.processor(departures)
async def totals(events: Events[Departure]) -> None:
    """Count the flights and miles of each aircraft in this partition."""
    flown: dict[str, tuple[int, int]] = {}
    async for departure in events.records():
        flights, miles = flown.get(departure.tailnum, (0, 0))
        flown[departure.tailnum] = flights + 1, miles + departure.distance
        line = {
            "tailnum": departure.tailnum,
            "departed_at": departure.departed_at.isoformat(),
            "flight": departure.flight,
            "origin": departure.origin,
            "miles": miles + departure.distance,
            "worker": os.getpid(),
        }
        os.write(effects(), json.dumps(line).encode() + b"\n")
        await asyncio.sleep(0.002)
