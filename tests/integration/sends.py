"""A stream of items to send to, and what its log has, for tests of producers."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from redis.asyncio import Redis

from runnel import App, Record, Stream
from runnel.keys import log


class Item(Record):
    key: int
    number: int


def declare(name: str, url: str, count: int = 4, **settings: Any) -> tuple[App, Stream[Item]]:
    """An app and its stream of so many partitions."""
    app = App(name, redis_url=url, **settings)
    return app, app.stream("items", record=Item, partition_by="key", partition_count=count)


def items(*numbers: int) -> list[Item]:
    """Items of one partition."""
    return [Item(key=0, number=number) for number in numbers]


def spread(*numbers: int) -> list[Item]:
    """Items of all partitions, each with its number as its key."""
    return [Item(key=number, number=number) for number in numbers]


async def stored(redis: Redis, stream: Stream[Item]) -> dict[int, list[int]]:
    """Key -> numbers, in the order of the log."""
    found = defaultdict(list)
    for partition in range(stream.spec.partition_count):
        entries: Any = await redis.xrange(log(stream.spec.prefix(partition)))
        for _, fields in entries:
            item = stream.spec.codec.decode([each for pair in fields.items() for each in pair])
            found[item.key].append(item.number)
    return dict(found)
