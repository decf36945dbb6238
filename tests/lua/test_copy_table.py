"""copy_table: a table is copied page by page."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import META, Raw
from tests.lua.snapshots import (
    ID,
    OTHER_ID,
    RECORD,
    copied,
    copy,
    own,
    staged,
    step,
    taken,
    written,
)
from tests.lua.steps import refused, repeated

KEYS = [RECORD, *own("balances"), *copy("balances")]


@pytest.mark.parametrize("number", [0, 3, 2_500])
async def test_all_pages_together_are_the_table(raw: Raw, number: int) -> None:
    await written(raw)
    values, expiry = own("balances")
    await raw.redis.delete(values)
    fields = {f"key {n}": "x" * (n % 7) for n in range(number)}
    if fields:
        await raw.redis.hset(values, mapping=fields)  # type: ignore[arg-type]
        await raw.redis.zadd(expiry, {f"key {n}": 1_000 + n for n in range(0, number, 2)})
    await step(raw, "begin")
    pages = await copied(raw, "balances", count=100)
    assert await raw.redis.hgetall(copy("balances")[0]) == await raw.redis.hgetall(values)
    scores: Any = await raw.redis.zrange(copy("balances")[1], 0, -1, withscores=True)
    assert scores == await raw.redis.zrange(expiry, 0, -1, withscores=True)
    assert sum(page[1] for page in pages) >= number
    assert sum(page[2] for page in pages) >= sum(len(k) + len(v) for k, v in fields.items())
    if number > 2_000:
        assert max(page[1] for page in pages) < 300, "a page has about as many fields as asked for"


async def test_a_copy_begins_empty(raw: Raw) -> None:
    await written(raw)
    await step(raw, "begin")
    await raw.redis.hset(copy("balances")[0], "left over", "1")
    await raw.redis.zadd(copy("balances")[1], {"left over": 1})
    await copied(raw)
    assert await raw.redis.hgetall(copy("balances")[0]) == {b"alice": b"5", b"bob": b"7"}
    assert await raw.redis.exists(copy("balances")[1]) == 0


async def test_s6_a_repeated_page_is_copied_once(raw: Raw) -> None:
    await written(raw)
    await step(raw, "begin")
    first, second = await repeated(raw, "copy_table", KEYS, ID, "0", 10, 0)
    assert first == second == ["0", 2, 10]


async def test_the_time_of_a_key_is_shifted_when_it_is_restored(raw: Raw) -> None:
    await written(raw)
    await raw.redis.zadd(own("balances")[1], {"alice": 1_800_000_000_123})
    await taken(raw)
    await copied(raw, restoring=True, shift=5_000)
    assert await raw.redis.zscore(staged("balances")[1], "alice") == 1_800_000_005_123
    assert await raw.redis.zscore(staged("balances")[1], "bob") is None


async def test_nothing_is_copied_into_a_snapshot_that_was_deleted_or_begun_again(raw: Raw) -> None:
    await written(raw)
    await step(raw, "begin")
    said = await refused(raw, "MISSING", raw.call("copy_table", KEYS, OTHER_ID, "0", 10, 0))
    assert said == "MISSING snapshot=monday"
    await raw.redis.delete(RECORD)
    await refused(raw, "MISSING", raw.call("copy_table", KEYS, ID, "0", 10, 0))


@pytest.mark.parametrize(
    "keys",
    [
        [RECORD, *copy("balances"), *own("balances")],
        [RECORD, *own("balances"), *own("limits")],
        [RECORD, *own("balances"), *copy("limits")],
        [RECORD, *own("balances"), *staged("balances")],
        [RECORD, *own("balances"), *copy("balances")[::-1]],
        [META, *own("balances"), *copy("balances")],
        KEYS[:4],
    ],
)
async def test_only_a_copy_is_written(raw: Raw, keys: list[str]) -> None:
    await written(raw)
    await step(raw, "begin")
    await refused(raw, "BADARG", raw.call("copy_table", keys, ID, "0", 10, 0))


@pytest.mark.parametrize("args", [(ID, "x", 10, 0), (ID, 0, 0, 0), (ID, 0, 1001, 0), (ID, 0, 1)])
async def test_a_malformed_page_is_refused(raw: Raw, args: tuple[Any, ...]) -> None:
    await written(raw)
    await step(raw, "begin")
    await refused(raw, "BADARG", raw.call("copy_table", KEYS, *args))
