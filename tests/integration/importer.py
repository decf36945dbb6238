"""A program that imports numbered records, for tests that kill it.

``python -m tests.integration.importer URL APP WAY COUNT SEED`` sends the records of the numbers
from 1 to COUNT and prints a line for each send that added something. WAY says where it begins and
how it sends: ``start`` or ``last`` for one number after the other, ``start-at-once`` or
``last-at-once`` for several lists of records at a time.
"""

from __future__ import annotations

import asyncio
import random
import sys

from runnel import NumberedProducer, Stream
from tests.integration.sends import Item, declare

#: The most lists that are sent at a time, and the most records of one.
AT_ONCE, LONGEST = 4, 12


def records_of(number: int) -> list[Item]:
    """One record or more of a number, of one partition or more."""
    rng = random.Random(number)
    return [
        Item(key=rng.randrange(7), number=10 * number + each) for each in range(rng.randint(1, 3))
    ]


def record_of(number: int) -> Item:
    """The one record of a number in a list."""
    return records_of(number)[0]


async def one_by_one(
    producer: NumberedProducer, stream: Stream[Item], begin: int, count: int
) -> None:
    for number in range(begin, count + 1):
        sent = await producer.send(stream, *records_of(number), number=number)
        if any(sent):
            print(number, flush=True)


async def at_once(
    producer: NumberedProducer, stream: Stream[Item], begin: int, count: int, rng: random.Random
) -> None:
    free = asyncio.Semaphore(AT_ONCE)

    async def send(numbers: range) -> None:
        try:
            sent = await producer.send(stream, *map(record_of, numbers), number=numbers)
        finally:
            free.release()
        if any(sent):
            print(numbers, flush=True)

    async with asyncio.TaskGroup() as group:
        while begin <= count:
            await free.acquire()
            end = min(count + 1, begin + rng.randint(1, LONGEST))
            group.create_task(send(range(begin, end)))
            begin = end


async def main(url: str, name: str, way: str, count: int, seed: int) -> None:
    app, stream = declare(name, url)
    async with app:
        producer = app.producer(id="importer")
        begin = 1
        if way.startswith("last"):
            begin = await producer.last(stream) or 1
        if way == "last-at-once":  # Records of all lists that were under way may be missing.
            begin = max(1, begin - AT_ONCE * LONGEST)
        print("began", flush=True)
        if way.endswith("at-once"):
            await at_once(producer, stream, begin, count, random.Random(seed))
        else:
            await one_by_one(producer, stream, begin, count)
    print("done", flush=True)


if __name__ == "__main__":
    url, name, way, count, seed = sys.argv[1:]
    asyncio.run(main(url, name, way, int(count), int(seed)))
