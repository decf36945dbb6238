"""The history of each aircraft, in Python: its workers share a group with those in Node.js and Go.

A table has for each aircraft how many flights were processed, their miles, and a checksum chained
over them in their order: so it shows whether one was lost, repeated, or processed out of order.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path

from runnel import App, Event, Events, Record

app = App("flights", session_timeout=2.0, rebalance_delay=0.0)


class Flight(Record):
    """A flight; its number rises."""

    tailnum: str
    number: int
    distance: int


flights = app.stream("flights", record=Flight, partition_by="tailnum", partition_count=12)
history = app.table("history", flights, value=str, default="")


def with_flight(so_far: str, flight: Flight) -> str:
    """The history of an aircraft, with one flight more: COUNT MILES CHECKSUM."""
    count, miles, chain = so_far.split() or ("0", "0", "")
    chain = hashlib.sha1(f"{chain} {flight.number}".encode()).hexdigest()[:16]
    return f"{int(count) + 1} {int(miles) + flight.distance} {chain}"


@app.processor(flights, name="history")
async def remember(events: Events[Flight]) -> None:
    """Keep the history of each aircraft."""
    event: Event[Flight]
    async for event in events:
        tailnum = event.record.tailnum
        history[tailnum] = with_flight(history[tailnum], event.record)
        await asyncio.sleep(0.001)


async def send(lines: list[str]) -> None:
    """Send flights, each a line of JSON."""
    async with app:
        for start in range(0, len(lines), 200):
            part = [Flight(**json.loads(line)) for line in lines[start : start + 200]]
            await flights.send(*part)


if __name__ == "__main__":
    asyncio.run(send(Path(sys.argv[1]).read_text().splitlines()))
