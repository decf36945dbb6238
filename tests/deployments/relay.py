"""An app for worker processes on a cluster: each item is copied to another stream by another key,
so that source and target are in different slots."""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, TimeoutError

from runnel import App, Events, Record, Stream, keys
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server

KEYS, SHADES = 12, 7

app = App(
    "relay",
    session_timeout=1.5,
    rebalance_delay=0.1,
    backoff=0.01,
    shutdown_timeout=5.0,
    delivery_timeout=60.0,
    durability=os.environ.get("DURABILITY", "primary"),
)


class Item(Record):
    key: int
    number: int


class Copy(Record):
    shade: int
    key: int
    number: int


items: Stream[Item] = app.stream("items", record=Item, partition_by="key", partition_count=6)
copies: Stream[Copy] = app.stream("copies", record=Copy, partition_by="shade", partition_count=5)


@app.processor(items)
async def copy(events: Events[Item]) -> None:
    async for item in events.records():
        shade = item.number * item.number % SHADES
        events.emit(copies, Copy(shade=shade, key=item.key, number=item.number))


async def send(done: asyncio.Event, at_least: int = 0) -> int:
    """A round of all keys for each number, until `done`. Returns how many rounds."""
    number = 0
    while number < at_least or not done.is_set():
        await items.send(*(Item(key=key, number=number) for key in range(KEYS)), wait=True)
        number += 1
        await asyncio.sleep(0.01)
    return number


async def copied(redis: Redis) -> list[Copy]:
    """What has arrived, each partition in the order of its log."""
    found: list[Copy] = []
    for partition in range(copies.spec.partition_count):
        entries: Any = await redis.xrange(keys.log(copies.spec.prefix(partition)))
        for _, fields in entries:
            flat = [each for pair in fields.items() for each in pair]
            found.append(copies.spec.codec.decode(flat))
    return found


async def some(redis: Redis) -> bool:
    """Has anything arrived?"""
    return len(await copied(redis)) > KEYS


async def complete(redis: Redis, count: int) -> bool:
    """Are so many items of each key copied, and is nothing left to forward? No if a server does not
    answer."""
    try:
        waiting = 0
        for partition in range(items.spec.partition_count):
            waiting += await redis.xlen(app.processors["copy"].keys(partition).outbox)
        found = {(each.key, each.number) for each in await copied(redis)}
    except (ConnectionError, TimeoutError):
        return False
    return len(found) == KEYS * count and not waiting


async def check(redis: Redis, count: int) -> None:
    """Each item was copied once. What comes from one key of the source and goes to one key of the
    target is in order."""
    found = await copied(redis)
    times = Counter((each.key, each.number) for each in found)
    assert set(times.values()) == {1}, "nothing comes twice"
    assert len(times) == KEYS * count, "nothing is lost"
    order: dict[tuple[int, int], list[int]] = defaultdict(list)
    for each in found:
        order[each.shade, each.key].append(each.number)
    assert all(numbers == sorted(numbers) for numbers in order.values())


async def shared(redis: Redis, url: str, members: int) -> bool:
    """Do so many members hold all partitions?"""
    report = await inspect(redis, await check_server(redis, url), app.name)
    rows = [row for each in report["processors"] for row in each["partitions"]]
    owners = {row["owner"] for row in rows}
    return len(rows) == items.spec.partition_count and len(owners - {None}) == members
