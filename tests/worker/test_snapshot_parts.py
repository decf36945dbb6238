"""What snapshots of tables there are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.operations import snapshot_parts
from runnel.operations.snapshot_parts import Part, Snapshot, part_of, snapshots_of, tables_in
from runnel.operations.snapshots import take
from runnel.protocol.scripts import Scripts
from tests.primaries import every_key
from tests.worker.bank import Bank


@pytest.fixture
async def bank(redis: Redis, redis_url: str, app_name: str) -> AsyncIterator[Bank]:
    made = Bank(app_name, redis_url)
    async with made.app:
        yield made


async def test_snapshots_are_found_with_their_tables_until_they_are_deleted(
    bank: Bank, redis: Redis
) -> None:
    scripts, processor = Scripts(redis), bank.app.processors["book"]
    await bank.book(alice=5, bob=7)
    before = set(await every_key(redis))
    for name in ("b", "a"):
        assert len([each async for each in take(scripts, processor, name)]) == 4
    # One of another processor.
    meta = keys.meta(processor.keys(0).prefix)
    await redis.hset(meta, "snapshot:c:other", "1")
    found = await snapshots_of(scripts, processor)
    assert list(found) == ["a", "b"]
    assert found["a"].complete(processor)
    assert (found["a"].at_ms or 0) >= (found["b"].at_ms or 0) > 0
    assert found["b"].tables == {"balances": 2}
    for each in found.values():
        await snapshot_parts.delete(scripts, processor, each)
    assert set(await every_key(redis)) == before
    assert await snapshots_of(scripts, processor) == {}


def test_a_part_that_was_interrupted_is_not_complete(bank: Bank) -> None:
    part = part_of({"id": "i", "checkpoint": "1-0", "read": "3", "table:totals": ""})
    assert part == Part("i", None, "1-0", 3, {"totals": 0})
    found = Snapshot("monday", {0: part, 1: part_of({})})
    assert (found.at_ms, found.complete(bank.app.processors["book"])) == (None, False)


def test_the_tables_of_a_processor_are_those_that_meta_says_it_writes() -> None:
    meta = {"table:b": "book", "table:a": "book", "table:c": "mail", "expires:d": "book"}
    assert tables_in(meta, "book") == ["a", "b"]
