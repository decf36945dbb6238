"""transact: keys of a table that were not written for long are removed, some at each commit."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import (
    ASIDE,
    DELETED,
    LOG,
    META,
    NONCE,
    OTHER,
    OUTBOX,
    STATE,
    Raw,
)
from tests.lua.steps import SINK_META, ready, refused, repeated, transact

TABLE = META.replace(":meta", ":table:balances")
EXPIRY = f"{TABLE}:expiry"
KEYS = (TABLE, EXPIRY)


def writes(*fields: str, deletes: tuple[str, ...] = (), seconds: int = 60) -> tuple[str | int, ...]:
    pairs = [each for field in fields for each in (field, "1")]
    return ("expiring", seconds, len(fields), len(deletes), *pairs, *deletes)


async def fields(raw: Raw) -> set[str]:
    found: Any = await raw.redis.hkeys(TABLE)
    return {each.decode() for each in found}


async def times(raw: Raw) -> dict[str, float]:
    found: Any = await raw.redis.zrange(EXPIRY, 0, -1, withscores=True)
    return {field.decode(): score for field, score in found}


async def now(raw: Raw) -> int:
    seconds, micros = await raw.redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


async def age(raw: Raw, ms: int, *fields: str) -> None:
    """Let it be so long since these fields were written."""
    at = await now(raw) - ms
    await raw.redis.zadd(EXPIRY, dict.fromkeys(fields, at))


async def test_s5_the_time_of_each_write_is_kept_with_it(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    began = await now(raw)
    assert await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a", "b")) == [1, 0]
    kept = await times(raw)
    assert set(kept) == {"a", "b"}
    assert began <= min(kept.values())
    assert max(kept.values()) <= await now(raw)
    assert await raw.redis.hget(META, "expires:balances") == b"60"
    gone = writes("c", deletes=("a",))
    await transact(raw, epoch, ids[0], ids[1], keys=KEYS, effects=gone)
    assert set(await times(raw)) == await fields(raw) == {"b", "c"}


async def test_a_field_is_removed_once_it_was_not_written_for_so_long_and_never_sooner(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a", "b", "c", "d"))
    await age(raw, 50_000, "a")
    await age(raw, 60_000, "b")
    await age(raw, 3_600_000, "c")
    await transact(raw, epoch, ids[0], ids[1], keys=KEYS, effects=writes("x"))
    assert set(await times(raw)) == await fields(raw) == {"a", "d", "x"}
    assert await raw.redis.exists(TABLE) == 1


async def test_a_field_that_the_commit_writes_lives_on(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a", "b"))
    await age(raw, 3_600_000, "a", "b")
    await transact(raw, epoch, ids[0], ids[1], keys=KEYS, effects=writes("a", deletes=("b",)))
    assert set(await times(raw)) == await fields(raw) == {"a"}
    await age(raw, 1_000, "a")
    await transact(raw, epoch, ids[1], ids[2], keys=KEYS, effects=writes("x"))
    assert await fields(raw) == {"a", "x"}


async def test_l4_a_commit_removes_twice_as_many_fields_as_it_writes_and_ten(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    old = [f"old {number}" for number in range(100)]
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes(*old))
    await age(raw, 3_600_000, *old)
    await transact(raw, epoch, ids[0], ids[1], keys=KEYS, effects=writes("x", deletes=("y",)))
    assert len(await fields(raw)) == 101 - 14
    new = [f"new {number}" for number in range(996)]
    await transact(raw, epoch, ids[1], ids[2], keys=KEYS, effects=writes(*new))
    assert await fields(raw) == {"x", *new}
    old = [f"old {number}" for number in range(3000)]
    await raw.redis.hset(TABLE, mapping=dict.fromkeys(old, "1"))
    await age(raw, 3_600_000, *old)
    await transact(raw, epoch, ids[2], ids[3], keys=KEYS, effects=writes(*new, "a", "b", "c", "d"))
    assert len(await fields(raw)) == 3000 - 2010 + 1001


async def test_s6_a_repeat_removes_no_more(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    old = [f"old {number}" for number in range(50)]
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes(*old))
    await age(raw, 3_600_000, *old)
    step = ("printer", epoch, NONCE, ids[0], ids[1], 1, 0)
    keys = [LOG, META, STATE, *KEYS]
    first, second = await repeated(raw, "transact", keys, *step, *writes("x"))
    assert (first, second) == ([1, 0], [0, 0])
    assert len(await fields(raw)) == 51 - 12


async def test_fields_that_were_written_before_the_table_had_expire_stay_until_they_are_written(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    plain = ("table", 2, 0, "a", "1", "b", "1")
    await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=plain)
    await transact(raw, epoch, ids[0], ids[1], keys=KEYS, effects=writes("a", seconds=1))
    await age(raw, 3_600_000, "a")
    await transact(raw, epoch, ids[1], ids[2], keys=KEYS, effects=writes("x", seconds=1))
    assert await fields(raw) == {"b", "x"}


async def test_times_count_no_more_after_a_commit_that_did_not_keep_them(raw: Raw) -> None:
    """Workers with and without `expire` take turns, as in a rolling deploy."""
    epoch, ids = await ready(raw)
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a", "b"))
    await age(raw, 3_600_000, "a", "b")
    plain = ("table", 1, 0, "a", "2")
    await transact(raw, epoch, ids[0], ids[1], keys=(TABLE,), effects=plain)
    assert await raw.redis.hget(META, "expires:balances") == b"0"
    await transact(raw, epoch, ids[1], ids[2], keys=KEYS, effects=writes("x"))
    assert await fields(raw) == {"a", "b", "x"}, "`a` was written just now"
    assert set(await times(raw)) == {"x"}
    await transact(raw, epoch, ids[2], ids[3], keys=KEYS, effects=writes("a"))
    assert set(await times(raw)) == {"a", "x"}


async def test_another_number_of_seconds_counts_from_the_next_commit_on(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a", "b"))
    await age(raw, 50_000, "a", "b")
    await transact(raw, epoch, ids[0], ids[1], keys=KEYS, effects=writes("x", seconds=40))
    assert await fields(raw) == {"x"}


@pytest.mark.parametrize("permission", ["zadd", "zrem", "unlink", "zcard", "zrange"])
async def test_s5_a_missing_permission_writes_nothing(raw: Raw, permission: str) -> None:
    """The default user lacks it for a moment."""
    epoch, ids = await ready(raw)
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a"))
    before = await raw.dump()
    await raw.redis.execute_command("ACL", "SETUSER", "default", f"-{permission}")  # type: ignore[no-untyped-call]
    try:
        with pytest.raises(Exception, match=f"(?i){permission}|can.t run this"):
            await transact(raw, epoch, ids[0], ids[1], keys=KEYS, effects=writes("b"))
    finally:
        await raw.redis.execute_command("ACL", "SETUSER", "default", "+@all")  # type: ignore[no-untyped-call]
    assert await raw.dump() == before


async def test_s5_an_expiry_of_the_wrong_type_writes_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.set(EXPIRY, "not ours")
    step = transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a"))
    await refused(raw, "WRONGTYPE", step)


@pytest.mark.parametrize(
    "effects",
    [
        ("expiring",), ("expiring", 60, 0, 0), ("expiring", 0, 1, 0, "f", "v"),
        ("expiring", "x", 1, 0, "f", "v"), ("expiring", 60, 1, 0, "f"),
        ("expiring", 60, 1, 0, "f", "v", "g"), ("expiring", 60, 1001, 0, *("f", "v") * 1001),
        ("table", 1, 0, "f", "v"),
    ],
)  # fmt: skip
async def test_malformed_writes_are_refused(raw: Raw, effects: Any) -> None:
    epoch, ids = await ready(raw)
    await refused(raw, "BADARG", transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=effects))


@pytest.mark.parametrize("keys", [(TABLE,), (TABLE, SINK_META), (EXPIRY, TABLE), (EXPIRY, EXPIRY)])
async def test_both_keys_of_the_table_are_named(raw: Raw, keys: tuple[str, ...]) -> None:
    epoch, ids = await ready(raw)
    step = transact(raw, epoch, "0-0", ids[0], keys=keys, effects=writes("a"))
    await refused(raw, "BADARG", step)


async def test_clear_table_and_delete_take_the_times_with_the_values(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await transact(raw, epoch, "0-0", ids[0], keys=KEYS, effects=writes("a"))
    await refused(raw, "BADARG", raw.call("clear_table", [META, STATE, TABLE], "printer", OTHER))
    wrong = [META, STATE, TABLE, TABLE]
    await refused(raw, "BADARG", raw.call("clear_table", wrong, "printer", OTHER))
    clear = ("clear_table", [META, STATE, *KEYS])
    assert await repeated(raw, *clear, "printer", OTHER) == (1, 0)
    assert await raw.redis.exists(*KEYS) == 0
    assert await raw.redis.hexists(META, "expires:balances") is False
    epoch = (await raw.claim(11, "2" * 32))["epoch"]
    step = (epoch, ids[0], ids[1], 0, "2" * 32)
    await transact(raw, *step, keys=KEYS, effects=writes("a"))
    await raw.call("remove", [LOG, META, STATE, OUTBOX, *ASIDE], "printer")
    call = DELETED
    for keys in ([TABLE], [EXPIRY], [TABLE, EXPIRY, EXPIRY], [TABLE, f"{TABLE}s:expiry"]):
        await refused(raw, "BADARG", raw.call("delete", [*call, *keys]))
    assert await repeated(raw, "delete", [*call, *KEYS]) == (5, 0)
    assert await raw.redis.exists(*KEYS) == 0
