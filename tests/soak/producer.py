"""A producer process: sends numbered events for keys of its own, and notes what was acknowledged.

A line is ``key number partition id`` for an event that was acknowledged, ``key number - error``
for one of which nobody knows whether it arrived. Run it as ``python -m tests.soak.producer NAME
FILE EVENTS_A_SECOND MOST``; SIGTERM ends it after the send in hand.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter

from redis.exceptions import RedisError

from runnel.errors import RunnelError
from tests.soak.app import Entry, app, entries

KEYS = 40


async def produce(name: str, path: str, rate: float, most: int) -> None:
    """Send in batches until told to stop, or until `most` events were sent."""
    notes = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    numbers: Counter[str] = Counter()
    chance = random.Random(name)
    async with app:
        while not stop.is_set() and numbers.total() < most:
            batch = []
            # Mostly a few, now and then so many that workers fall behind.
            size = chance.choice((1, 5, 10, 10, 300))
            for key in chance.choices(range(KEYS), k=size):
                numbers[f"{name}.{key}"] += 1
                batch.append(Entry(key=f"{name}.{key}", number=numbers[f"{name}.{key}"]))
            try:
                sent = await entries.send(*batch, wait=True)
            except (RedisError, RunnelError, OSError) as error:
                print(f"not acknowledged: {error!r}", file=sys.stderr, flush=True)
                places = [f"- {type(error).__name__}"] * len(batch)
                await asyncio.sleep(0.2)
            else:
                places = [f"{each.partition} {each.id}" for each in sent]
            lines = [
                f"{entry.key} {entry.number} {place}\n"
                for entry, place in zip(batch, places, strict=True)
            ]
            os.write(notes, "".join(lines).encode())
            await asyncio.sleep(chance.uniform(0, 2 * len(batch) / rate))


if __name__ == "__main__":
    asyncio.run(produce(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
