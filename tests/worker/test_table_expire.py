"""Keys of a table that were not written for long disappear while a worker runs."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.operations import admin
from runnel.operations.snapshot_parts import snapshots_of
from runnel.operations.snapshots import restore, returns_of, take
from runnel.operations.table_admin import clear, parts_of
from runnel.protocol.scripts import Scripts
from runnel.table import Table
from tests.primaries import every_key
from tests.worker.inside import Ledger, caught_up
from tests.worker.totals import adds, run_to_end, stored
from tests.worker.workers import until

HOUR = 3_600_000


@pytest.fixture
def visits(ledger: Ledger) -> Table[int]:
    return ledger.app.table("visits", ledger.items, value=int, default=0, expire=60)


async def kept(redis: Redis, ledger: Ledger) -> set[str]:
    """The keys of the table."""
    return set(await stored(redis, ledger, "visits"))


async def times(redis: Redis, ledger: Ledger) -> dict[str, int]:
    name = keys.expiry(ledger.partition_keys.prefix, "visits")
    found: Any = await redis.zrange(name, 0, -1, withscores=True)
    return {key.decode(): int(at) for key, at in found}


async def age(redis: Redis, ledger: Ledger, ms: int) -> None:
    """Let all keys have been written so much earlier."""
    name = keys.expiry(ledger.partition_keys.prefix, "visits")
    for key in await times(redis, ledger):
        await redis.zincrby(name, -ms, key)


async def test_keys_that_were_not_written_for_long_are_removed(
    redis: Redis, ledger: Ledger, visits: Table[int]
) -> None:
    ledger.processor(adds(visits))
    await ledger.send(*range(30))
    await run_to_end(redis, ledger)
    assert await kept(redis, ledger) == {str(n) for n in range(30)}
    await age(redis, ledger, HOUR)
    for _ in range(4):
        await ledger.send(7)
        await run_to_end(redis, ledger)
    assert await stored(redis, ledger, "visits") == {"7": "5"}
    assert set(await times(redis, ledger)) == {"7"}
    assert await visits.read(3) == 0


async def test_a_key_that_is_removed_lives_on_if_the_worker_that_remembers_it_writes_it(
    redis: Redis, ledger: Ledger, visits: Table[int]
) -> None:
    ledger.processor(adds(visits))
    async with ledger.running():
        await ledger.send(1)
        await until(lambda: caught_up(redis, ledger), "1 is committed")
        await age(redis, ledger, HOUR)
        await ledger.send(2)
        await until(lambda: caught_up(redis, ledger), "2 is committed")
        assert await kept(redis, ledger) == {"2"}
        await ledger.send(1)
        await until(lambda: caught_up(redis, ledger), "1 is written again")
    assert await stored(redis, ledger, "visits") == {"1": "2", "2": "1"}


async def test_operators_take_the_times_with_the_values(
    redis: Redis, ledger: Ledger, visits: Table[int]
) -> None:
    ledger.processor(adds(visits))
    scripts, work = Scripts(redis), ledger.app.processors["work"]

    async def run() -> dict[str, int]:
        await ledger.send(1, 2)
        await run_to_end(redis, ledger)
        return await times(redis, ledger)

    assert len(await run()) == 2
    await admin.reset(scripts, work, "$", tables=["visits"])
    assert await times(redis, ledger) == {}
    assert len(await run()) == 2
    await clear(scripts, visits, await parts_of(scripts, visits))
    assert await times(redis, ledger) == {}
    assert len(await run()) == 2
    await admin.remove(scripts, work)
    await admin.delete_stream(scripts, ledger.items.spec)
    assert [each for each in await every_key(redis) if b"visits" in each] == []


async def test_keys_of_a_restored_snapshot_expire_no_sooner_than_they_would_have(
    redis: Redis, ledger: Ledger, visits: Table[int]
) -> None:
    """Else events of last week, processed again, would find an empty table."""
    ledger.processor(adds(visits))
    scripts, work = Scripts(redis), ledger.app.processors["work"]
    await ledger.send(1, 2)
    await run_to_end(redis, ledger)
    await age(redis, ledger, 10_000)
    before = await times(redis, ledger)
    assert [each async for each in take(scripts, work, "monday")]
    found = (await snapshots_of(scripts, work))["monday"]
    record = keys.snapshot(ledger.partition_keys.prefix, "monday", "work")
    copy = keys.expiry(record, "visits")
    await ledger.send(3)
    await run_to_end(redis, ledger)
    # It was taken an hour ago.
    await redis.hincrby(record, "at", -HOUR)
    for key in before:
        await redis.zincrby(copy, -HOUR, key)
    found = (await snapshots_of(scripts, work))["monday"]
    returns = await returns_of(scripts, work, found)
    assert [each async for each in restore(scripts, work, "monday", returns)]
    after = await times(redis, ledger)
    assert set(after) == set(before)
    assert all(0 <= after[key] - before[key] < 30_000 for key in before)
    await run_to_end(redis, ledger)
    assert await kept(redis, ledger) == {"1", "2", "3"}
