"""transact: the writes of tables and the checkpoint land together, or nothing does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import META, OTHER, STATE, Raw
from tests.lua.steps import SINK_LOG, SINK_META, ready, refused, transact

TABLE = META.replace(":meta", ":table:balances")
OTHER_TABLE = META.replace(":meta", ":table:limits")


async def test_s5_the_writes_of_a_table_and_the_checkpoint_land_together(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    sets = ("table", 2, 0, "alice", "5", "bob", "7")
    assert await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets) == [1, 0]
    both = ("table", 1, 1, "alice", "6", "bob")
    assert await transact(raw, epoch, ids[0], ids[1], keys=(TABLE,), effects=both) == [1, 0]
    assert await raw.redis.hgetall(TABLE) == {b"alice": b"6"}
    assert await raw.redis.hget(META, "table:balances") == b"printer"
    assert await raw.redis.hget(STATE, "checkpoint") == ids[1].encode()
    assert await raw.lag() == 3


async def test_s6_a_repeat_writes_no_table_again(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    sets = ("table", 1, 0, "alice", "5")
    await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets)
    await raw.redis.hset(TABLE, "alice", "9")
    before = await raw.dump()
    assert await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets) == [0, 0]
    assert await raw.dump() == before


async def test_s1_a_table_is_written_only_under_the_token(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.claim(11, OTHER)
    sets = ("table", 1, 0, "alice", "5")
    await refused(raw, "FENCED", transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets))


async def test_a_table_has_one_writer(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.hset(META, "table:limits", "mailer")
    effects = ("table", 1, 0, "alice", "5", "table", 1, 0, "alice", "100")
    keys = (TABLE, OTHER_TABLE)
    said = await refused(
        raw, "NOT_WRITER", transact(raw, epoch, "0-0", ids[0], keys=keys, effects=effects)
    )
    assert said == "NOT_WRITER table=limits writer=mailer"
    await raw.redis.hset(META, "table:limits", "printer")
    assert await transact(raw, epoch, "0-0", ids[0], keys=keys, effects=effects) == [1, 0]
    assert await raw.redis.hget(OTHER_TABLE, "alice") == b"100"


async def test_s5_tables_and_dead_letters_land_together_or_not_at_all(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    letter = ("derived", 2, "refuse", 1, 2, "f", "v")
    effects = ("table", 1, 0, "alice", "5", *letter)
    keys = (TABLE, SINK_LOG, SINK_META)
    for prev, next_id in (("0-0", ids[0]), (ids[0], ids[1])):
        assert await transact(raw, epoch, prev, next_id, keys=keys, effects=effects) == [1, 0]
    more = ("table", 1, 0, "alice", "6", *letter)
    await refused(raw, "FULL", transact(raw, epoch, ids[1], ids[2], keys=keys, effects=more))
    assert await raw.redis.hget(TABLE, "alice") == b"5"


async def test_s5_a_table_of_the_wrong_type_writes_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.set(OTHER_TABLE, "no hash")
    effects = ("table", 1, 0, "alice", "5", "table", 1, 0, "alice", "100")
    step = transact(raw, epoch, "0-0", ids[0], keys=(TABLE, OTHER_TABLE), effects=effects)
    await refused(raw, "WRONGTYPE", step)


@pytest.mark.parametrize(
    "effects",
    [
        ("table",), ("table", 0, 0), ("table", 1, 0, "f"), ("table", 1, 0, "f", "v", "g"),
        ("table", "x", 0, "f", "v"), ("table", -1, 1, "f"), ("table", 0, "", "f"),
        ("table", 1001, 0, *("f", "v") * 1001), ("table", 10**14, 0, "f", "v"),
        ("tables", 1, 0, "f", "v"), ("derived", 100, "refuse", 1, 2, "f", "v"),
        ("", 1, 0, "f", "v"),
        ("table", 1, 0, "f", "v", "table", 1, 0, "f", "v"),
    ],
)  # fmt: skip
async def test_malformed_writes_of_tables_are_refused_and_nothing_is_written(
    raw: Raw, effects: Any
) -> None:
    epoch, ids = await ready(raw)
    step = transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=effects)
    await refused(raw, "BADARG", step)


async def test_l4_a_commit_has_a_limited_number_of_effects(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    one = ("table", 1, 0, "f", "v")
    tables = tuple(f"{TABLE}{number}" for number in range(51))
    many = transact(raw, epoch, "0-0", ids[0], keys=tables, effects=one * 51)
    await refused(raw, "BADARG", many)
    fields = [each for number in range(999) for each in (f"f{number}", "v")]
    most: tuple[str | int, ...] = ("table", 999, 1, *fields, "gone")
    assert await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=most) == [1, 0]
    fifty = transact(raw, epoch, ids[0], ids[1], keys=tables[:50], effects=one * 50)
    assert await fifty == [1, 0]
    twice = transact(raw, epoch, ids[1], ids[2], keys=(TABLE, TABLE), effects=one * 2)
    await refused(raw, "BADARG", twice)


async def test_the_key_of_a_table_has_the_form_of_one(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    sets = ("table", 1, 0, "alice", "5")
    await refused(
        raw, "BADARG", transact(raw, epoch, "0-0", ids[0], keys=(SINK_META,), effects=sets)
    )


#: A partition of another stream, in another slot of a cluster.
