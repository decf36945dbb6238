"""restore: tables and checkpoint of a snapshot are put in place together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import LOG, META, NONCE, OTHER, STATE, Raw
from tests.lua.snapshots import (
    BALANCES,
    ID,
    LIMITS,
    OTHER_ID,
    RECORD,
    copied,
    copy,
    own,
    restore,
    staged,
    taken,
    written,
)
from tests.lua.steps import refused, transact

THIRD, FOURTH = "2" * 32, "3" * 32
THIRD_TABLE = META.replace(":meta", ":table:later")


async def later(raw: Raw) -> tuple[int, list[str]]:
    """A snapshot was taken behind the first event; the next three have changed everything."""
    epoch, ids = await written(raw)
    await taken(raw)
    keys = (BALANCES, THIRD_TABLE)
    writes = ("table", 1, 1, "alice", "9", "bob", "table", 1, 0, "x", "1")
    await transact(raw, epoch, ids[0], ids[1], keys=keys, effects=writes)
    await raw.commit(epoch, ids[1], ids[3], 2)
    return epoch, ids


ALL = ("balances", "limits", "later")


async def test_s5_tables_and_checkpoint_come_back_together(raw: Raw) -> None:
    epoch, ids = await later(raw)
    assert await raw.lag() == 1
    await copied(raw, restoring=True)
    reply = await restore(raw, OTHER, ALL)
    assert reply == [ids[0], 1]
    assert await raw.redis.hgetall(BALANCES) == {b"alice": b"5", b"bob": b"7"}
    assert await raw.redis.hgetall(LIMITS) == {b"alice": b"100"}
    assert await raw.redis.exists(THIRD_TABLE, *staged("balances")) == 0, "it had no keys then"
    assert await raw.redis.hmget(META, ["checkpoint:printer", "table:later"]) == [
        ids[0].encode(),
        b"printer",
    ]
    assert await raw.lag() == 4
    await refused(raw, "FENCED", raw.commit(epoch, ids[3], ids[4], 1))
    found = await raw.claim(11, THIRD)
    assert (found["checkpoint"], found["lost"], found["unclean_tenures"]) == (ids[0], -1, 0)


async def test_a_snapshot_can_be_restored_more_than_once(raw: Raw) -> None:
    await later(raw)
    for nonce in (OTHER, THIRD):
        await copied(raw, restoring=True)
        await restore(raw, nonce, ALL)
        assert await raw.redis.hget(BALANCES, "bob") == b"7"
        await raw.redis.hdel(BALANCES, "bob")
    assert await raw.redis.hlen(copy("balances")[0]) == 2


async def test_s6_a_repeat_is_recognised_after_the_next_claim_too(raw: Raw) -> None:
    _, ids = await later(raw)
    await copied(raw, restoring=True)
    reply = await restore(raw, OTHER, ALL)
    epoch = (await raw.claim(11, THIRD))["epoch"]
    writes = ("table", 1, 0, "alice", "6")
    await transact(raw, epoch, ids[0], ids[1], 0, THIRD, keys=(BALANCES,), effects=writes)
    before = await raw.dump()
    assert await restore(raw, OTHER, ALL) == reply
    assert await raw.dump() == before


async def test_the_times_of_keys_come_back_too(raw: Raw) -> None:
    await written(raw)
    await raw.redis.zadd(own("balances")[1], {"alice": 5})
    await raw.redis.hset(META, mapping={"expires:balances": "60", "expires:limits": "0"})
    await taken(raw)
    await raw.redis.hdel(META, "expires:balances")
    await raw.redis.hset(META, "expires:later", "7")
    await raw.redis.zadd(own("limits")[1], {"alice": 6})
    await copied(raw, restoring=True, shift=10)
    await restore(raw, OTHER)
    assert await raw.redis.zrange(own("balances")[1], 0, -1, withscores=True) == [(b"alice", 15)]
    assert await raw.redis.exists(own("limits")[1]) == 0
    found = await raw.redis.hmget(META, ["expires:balances", "expires:limits", "expires:later"])
    assert found == [b"60", b"0", b"7"]


@pytest.mark.parametrize("trimmed", [1, 3])
async def test_s4_missing_events_must_be_accepted_by_their_number(raw: Raw, trimmed: int) -> None:
    _, ids = await later(raw)
    await copied(raw, restoring=True)
    await raw.redis.xtrim(LOG, minid=ids[trimmed + 1], approximate=False)
    said = await refused(raw, "MISSING", restore(raw, OTHER, ALL))
    assert said == f"MISSING checkpoint={ids[0]} lost={trimmed}"
    await refused(raw, "MISSING", restore(raw, OTHER, ALL, lost=trimmed - 1))
    assert await restore(raw, OTHER, ALL, lost=trimmed) == [ids[0], 1]
    assert (await raw.claim(11, THIRD))["lost"] == trimmed, "S7: a claim finds it, and it is logged"


async def test_a_log_that_was_trimmed_up_to_the_checkpoint_has_lost_nothing(raw: Raw) -> None:
    _, ids = await later(raw)
    await copied(raw, restoring=True)
    await raw.redis.xtrim(LOG, minid=ids[1], approximate=False)
    assert await restore(raw, OTHER, ALL) == [ids[0], 1]
    found = await raw.claim(11, THIRD)
    assert (found["lost"], found["next_id"]) == (-1, ids[1])


async def test_a_log_that_has_gone_back_is_not_the_one_of_the_snapshot(raw: Raw) -> None:
    await later(raw)
    await copied(raw, restoring=True)
    await raw.redis.delete(LOG)
    await refused(raw, "MISSING", restore(raw, OTHER, ALL))
    await raw.redis.xadd(LOG, {"f": "v"}, id="1-1")
    assert "last=1-1" in await refused(raw, "MISSING", restore(raw, OTHER, ALL, lost=100))


async def test_an_incomplete_copy_is_refused(raw: Raw) -> None:
    await later(raw)
    assert "incomplete=" in await refused(raw, "BADARG", restore(raw, OTHER, ALL))
    await copied(raw, restoring=True)
    await raw.redis.hdel(staged("limits")[0], "alice")
    said = await refused(raw, "BADARG", restore(raw, OTHER, ALL))
    assert said == "BADARG field=tables incomplete=limits"
    await copied(raw, restoring=True)
    await raw.redis.hset(staged("later")[0], "alice", "1")
    assert "incomplete=later" in await refused(raw, "BADARG", restore(raw, OTHER, ALL))


async def test_all_tables_of_the_snapshot_and_of_today_must_be_named(raw: Raw) -> None:
    await later(raw)
    await copied(raw, restoring=True)
    for named, missing in ((("balances", "later"), "limits"), (("balances", "limits"), "later")):
        said = await refused(raw, "BADARG", restore(raw, OTHER, named))
        assert said == f"BADARG field=tables missing={missing}"


async def test_a_table_that_another_processor_writes_now_is_not_taken_from_it(raw: Raw) -> None:
    await later(raw)
    await copied(raw, restoring=True)
    await raw.redis.hset(META, "table:limits", "mailer")
    said = await refused(raw, "NOT_WRITER", restore(raw, OTHER, ALL))
    assert said == "NOT_WRITER table=limits writer=mailer"


async def test_a_snapshot_that_is_gone_not_whole_or_another_is_refused(raw: Raw) -> None:
    await later(raw)
    await copied(raw, restoring=True)
    said = await refused(raw, "MISSING", restore(raw, OTHER, ALL, id_=OTHER_ID))
    assert said == "MISSING snapshot=monday"
    await raw.redis.hdel(RECORD, "at")
    await refused(raw, "MISSING", restore(raw, OTHER, ALL))
    await raw.redis.delete(RECORD)
    await refused(raw, "MISSING", restore(raw, OTHER, ALL))


async def test_without_a_registration_or_a_group_nothing_is_restored(raw: Raw) -> None:
    await later(raw)
    await copied(raw, restoring=True)
    await raw.redis.xgroup_destroy(LOG, "printer")
    await refused(raw, "MISSING", restore(raw, OTHER, ALL))
    await raw.redis.delete(STATE)
    await refused(raw, "UNREGISTERED", restore(raw, OTHER, ALL))


@pytest.mark.parametrize(
    ("keys", "args"),
    [
        ([LOG, META, STATE, RECORD], ("printer", ID, "x", OTHER)),
        ([LOG, META, STATE, RECORD], ("printer", ID, 0, "short")),
        ([LOG, META, STATE, RECORD], ("mailer", ID, 0, OTHER)),
        ([LOG, META, STATE, META], ("printer", ID, 0, OTHER)),
        ([LOG, META, STATE, RECORD, *own("limits")], ("printer", ID, 0, OTHER)),
        ([LOG, META, STATE, RECORD, *own("limits"), *copy("limits")], ("printer", ID, 0, NONCE)),
    ],
)
async def test_a_malformed_call_writes_nothing(
    raw: Raw, keys: list[str], args: tuple[Any, ...]
) -> None:
    await later(raw)
    await copied(raw, restoring=True)
    await refused(raw, "BADARG", raw.call("restore", keys, *args))
