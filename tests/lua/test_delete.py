"""delete: a partition with all its events."""

from __future__ import annotations

from tests.lua.conftest import (
    ASIDE,
    DELETED,
    LOG,
    META,
    OTHER,
    OUTBOX,
    PRODUCERS,
    STATE,
    Raw,
)
from tests.lua.steps import ready, refused, repeated, transact

KEYS = [LOG, META, STATE]


async def test_producers_and_workers_that_still_run_learn_for_a_day_that_their_stream_was_deleted(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    other = [LOG, META, STATE.replace("printer", "mailer")]
    await raw.call("register", other, 1, 8, "xxh64", "mailer", "0")
    await raw.call("remove", [*KEYS, OUTBOX, *ASIDE], "printer")
    assert await repeated(raw, "delete", DELETED) == (5, 0)
    assert 0 < await raw.redis.ttl(META) <= 86_400
    assert await raw.redis.exists(LOG, PRODUCERS) == 0
    assert "deleted=" in await refused(raw, "MISSING", raw.append(1, producer="new"))
    assert "deleted=" in await refused(raw, "MISSING", raw.append(2))
    await refused(raw, "FENCED", raw.commit(epoch, "0-0", ids[0], 1))
    for name in ("printer", "mailer"):
        keys, seen = [LOG, META, STATE.replace("printer", name)], (1, 8, "xxh64")
        call = raw.call("claim", keys, *seen, name, "me", 11, OTHER, "")
        assert "removed=1" in await refused(raw, "UNREGISTERED", call)


async def test_deleting_a_partition_that_does_not_exist_writes_nothing(raw: Raw) -> None:
    assert await raw.call("delete", DELETED) == 0
    assert await raw.dump() == {}


async def test_the_tables_that_meta_names_are_deleted_with_the_events(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    tables = tuple(META.replace(":meta", f":table:{name}") for name in ("balances", "limits"))
    writes = ("table", 1, 0, "alice", "5")
    await transact(raw, epoch, "0-0", ids[0], keys=tables, effects=writes * 2)
    await raw.call("remove", [*KEYS, OUTBOX, *ASIDE], "printer")
    call, other = DELETED, META.replace(":meta", ":table:other")
    # If a table is missing in the call, it would be left without anybody who knows of it.
    for keys in (
        call,
        [*call, tables[0]],
        [*call, tables[0], tables[0]],
        [*call, tables[0], other],
        [*call, *tables, other],
        [*call, *tables, STATE],
    ):
        await refused(raw, "BADARG", raw.call("delete", keys))
    assert await repeated(raw, "delete", [*call, *tables]) == (5, 0)
    assert await raw.redis.exists(*tables) == 0
    assert await raw.redis.hget(META, "table:limits") is None


async def test_a_partition_whose_meta_names_a_snapshot_is_not_deleted(raw: Raw) -> None:
    await ready(raw)
    await raw.redis.hset(META, "snapshot:monday:printer", "1")
    said = await refused(raw, "BADARG", raw.call("delete", DELETED))
    assert said == "BADARG field=snapshots snapshot=snapshot:monday:printer"
