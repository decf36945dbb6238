"""Events of several partitions are read as one list, in bounded pages."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import App, Record, keys
from runnel.connection import deployment
from runnel.operations.log_pages import BYTES, OF_ALL_LOGS, OF_ONE_LOG, PageSize, described, merged
from runnel.protocol.scripts import Scripts


class Item(Record):
    name: str


SPEC = App("shop").stream("items", record=Item, partition_by="name", partition_count=3).spec
EVERYTHING = dict.fromkeys(range(3), ("-", "+"))


async def fill(redis: Redis, count: int, size: int = 1) -> list[tuple[int, str]]:
    """Add events to the partitions in turn. Returns partition and id of each."""
    made = []
    async with redis.pipeline(transaction=False) as pipe:
        for number in range(count):
            partition, id_ = number * 7 % 3, f"{8 + number // 2}-{number % 2}"
            pipe.xadd(keys.log(SPEC.prefix(partition)), {"a": "x" * size}, id_)
            made.append((partition, id_))
        await pipe.execute()
    return made


async def read(redis: Redis, newest_first: bool = False, **ranges: object) -> list[tuple[int, str]]:
    events = merged(deployment.of(redis), SPEC, EVERYTHING, newest_first)
    return [(each.partition, each.id) async for each in events]


async def test_events_are_merged_by_their_ids(redis: Redis) -> None:
    assert await read(redis) == []
    made = await fill(redis, 1000)  # As text, 10-0 would come before 9-0.
    assert await read(redis) == made
    assert await read(redis, newest_first=True) == made[::-1]


async def test_a_range_has_both_its_ends(redis: Redis) -> None:
    made = await fill(redis, 60)
    ranges = {1: ("12-0", "20-1")}
    expected = [each for each in made if each[0] == 1 and 12 <= int(each[1].split("-")[0]) <= 20]
    for newest_first in (False, True):
        events = merged(deployment.of(redis), SPEC, ranges, newest_first)
        found = [(each.partition, each.id) async for each in events]
        assert sorted(found) == sorted(expected)


async def test_equal_ids_of_several_partitions_are_all_there(redis: Redis) -> None:
    for number in range(3):
        await redis.xadd(keys.log(SPEC.prefix(number)), {"a": "b"}, "5-0")
    assert await read(redis) == [(0, "5-0"), (1, "5-0"), (2, "5-0")]
    assert await read(redis, newest_first=True) == [(2, "5-0"), (1, "5-0"), (0, "5-0")]


async def test_the_ends_of_partitions_are_described(redis: Redis) -> None:
    await redis.xadd(keys.log(SPEC.prefix(1)), {"a": "b"}, "5-0")
    held = await described(Scripts(redis), SPEC, [1, 2])
    assert (held[1].first, held[1].last, held[2].last) == ("5-0", "5-0", "0-0")


@pytest.mark.parametrize("logs", [1, 16, 1000])
@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_page_is_as_large_as_memory_allows(logs: int, size: int) -> None:
    pages = PageSize(logs)
    assert pages.limit == 1  # Nothing is known yet.
    pages.saw([[b"1-0", [b"a", b"x" * size]]])
    assert 1 <= pages.limit <= OF_ONE_LOG
    assert pages.limit == 1 or pages.limit * logs <= OF_ALL_LOGS
    assert pages.limit == 1 or pages.limit * logs * size <= BYTES
    if (logs, size) == (1, 1):
        assert pages.limit == OF_ONE_LOG
