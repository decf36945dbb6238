"""A producer process: sends numbered events for its own keys and writes which were acknowledged.

A line is ``key number partition id`` for an acknowledged event, and ``key number - error`` for one
that may or may not have arrived. With each batch it sends an event for later, and writes those that
were acknowledged to a file of their own, as ``key number partition due``, the time in ms since 1970
of the server's clock. Run it as ``python -m tests.soak.producer NAME
FILE EVENTS_A_SECOND MOST``; SIGTERM ends it after the current send.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

from redis.exceptions import RedisError

from runnel.errors import RunnelError
from tests.soak.app import Entry, Reminder, app, entries, reminders

KEYS = 40
#: Seconds for which an event waits that is sent for later.
DELAYS = (0.0, 0.2, 1.0, 3.0)


async def produce(name: str, path: str, rate: float, max_events: int) -> None:
    """Send in batches until SIGTERM, or until `max_events` events were sent."""
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    numbers: Counter[str] = Counter()
    later = Path(path).with_suffix(".later").open("a", buffering=1)
    rng = random.Random(name)
    async with app:
        while not stop.is_set() and numbers.total() < max_events:
            batch = []
            # Mostly a few; sometimes so many that workers fall behind.
            size = rng.choice((1, 5, 10, 10, 300))
            for key in rng.choices(range(KEYS), k=size):
                numbers[f"{name}.{key}"] += 1
                batch.append(Entry(key=f"{name}.{key}", number=numbers[f"{name}.{key}"]))
            try:
                sent = await entries.send(*batch, wait=True)
            except (RedisError, RunnelError, OSError) as error:
                print(f"not acknowledged: {error!r}", file=sys.stderr, flush=True)
                outcomes = [f"- {type(error).__name__}"] * len(batch)
                await asyncio.sleep(0.2)
            else:
                outcomes = [f"{each.partition} {each.id}" for each in sent]
            lines = [
                f"{entry.key} {entry.number} {outcome}\n"
                for entry, outcome in zip(batch, outcomes, strict=True)
            ]
            os.write(output, "".join(lines).encode())
            whose = f"{name}.{rng.randrange(KEYS)}"
            reminder = Reminder(key=whose, number=numbers.total())
            try:
                (waits,) = await reminders.send(reminder, delay=rng.choice(DELAYS), wait=True)
            except (RedisError, RunnelError, OSError) as error:
                print(f"not acknowledged: {error!r}", file=sys.stderr, flush=True)
            else:
                due, _ = waits.parts()
                later.write(f"{whose} {reminder.number} {waits.partition} {due}\n")
            await asyncio.sleep(rng.uniform(0, 2 * len(batch) / rate))


if __name__ == "__main__":
    asyncio.run(produce(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
