"""snapshot: the tables of a processor on one partition, with the checkpoint they belong to."""

from __future__ import annotations

import pytest

from tests.lua.conftest import META, OTHER, STATE, Raw
from tests.lua.snapshots import (
    BALANCES,
    FIELD,
    ID,
    OTHER_ID,
    RECORD,
    THIRD_ID,
    copied,
    copy,
    own,
    step,
    taken,
    written,
)
from tests.lua.steps import refused, transact

WRITES = ("table", 1, 0, "alice", "6")  # As many fields as before.


async def test_a_whole_snapshot_says_what_it_has(raw: Raw) -> None:
    _, ids = await written(raw)
    await raw.redis.hset(META, "expires:limits", "60")
    assert await step(raw, "begin") == [0, ids[0]]
    assert await raw.redis.hget(META, FIELD) == b"", "it is known before it is whole"
    await copied(raw)
    assert await step(raw, "finish") == [1, ids[0]]
    at = await raw.redis.hget(META, FIELD)
    found = await raw.redis.hgetall(RECORD)
    assert found.pop(b"token")
    assert found == {
        b"id": ID.encode(),
        b"at": at,
        b"checkpoint": ids[0].encode(),
        b"read": b"1",
        b"table:balances": b"2",
        b"table:limits": b"1",
        b"expires:limits": b"60",
    }


async def test_s6_each_step_may_be_repeated(raw: Raw) -> None:
    await written(raw)
    for what in ("begin", "finish"):
        reply = await step(raw, what)
        before = await raw.dump()
        assert await step(raw, what) == reply
        assert await raw.dump() == before
        await copied(raw)
    assert (await step(raw, "finish"))[0] == 1
    before = await raw.dump()
    for what in ("begin", "finish"):
        assert (await step(raw, what))[0] == 1
    assert await raw.dump() == before


async def test_a_commit_meanwhile_makes_the_copy_worthless(raw: Raw) -> None:
    epoch, ids = await written(raw)
    await step(raw, "begin")
    await copied(raw)
    await transact(raw, epoch, ids[0], ids[1], keys=(BALANCES,), effects=WRITES)
    assert await step(raw, "finish") == [0, ids[1]]
    await raw.commit(epoch, ids[1], ids[2], 1)
    assert (await step(raw, "finish"))[0] == 0
    await taken(raw, OTHER_ID)
    await refused(raw, "MISSING", step(raw, "finish"))


async def test_a_new_token_makes_the_copy_worthless(raw: Raw) -> None:
    await written(raw)
    await step(raw, "begin")
    await copied(raw)
    await raw.claim(11, OTHER)
    assert (await step(raw, "finish"))[0] == 0


@pytest.mark.parametrize("lacks", ["balances", "limits"])
async def test_a_copy_without_all_its_fields_is_not_whole(raw: Raw, lacks: str) -> None:
    await written(raw)
    # A time without a value, which somebody else has deleted, is not copied.
    await raw.redis.zadd(own("balances")[1], {"alice": 1, "gone": 1})
    await step(raw, "begin")
    await copied(raw)
    await raw.redis.hdel(copy(lacks)[0], "alice")
    assert (await step(raw, "finish"))[0] == 0
    await copied(raw)
    assert (await step(raw, "finish"))[0] == 1


async def test_a_snapshot_that_is_begun_again_forgets_the_copy_before(raw: Raw) -> None:
    await written(raw)
    await taken(raw)
    await step(raw, "begin", OTHER_ID)
    assert await raw.redis.exists(*copy("balances"), *copy("limits")) == 0
    assert await raw.redis.hget(META, FIELD) == b""


async def test_every_table_of_the_processor_must_be_named(raw: Raw) -> None:
    await written(raw)
    for what in ("begin", "finish"):
        said = await refused(raw, "BADARG", step(raw, what, tables=("balances",)))
        assert said == "BADARG field=tables missing=limits"
        await step(raw, "begin")
    await raw.redis.hset(META, "table:limits", "mailer")
    assert (await step(raw, "begin", tables=("balances",)))[0] == 0


async def test_a_processor_without_a_registration_has_no_snapshot(raw: Raw) -> None:
    await refused(raw, "UNREGISTERED", step(raw, "begin"))
    await written(raw)
    await raw.redis.delete(STATE)
    await refused(raw, "UNREGISTERED", step(raw, "begin"))


async def test_a_partition_has_a_hundred_snapshots_at_most(raw: Raw) -> None:
    await written(raw)
    more = {f"snapshot:s{n}:printer": "1" for n in range(100)}
    await raw.redis.hset(META, mapping=more)  # type: ignore[arg-type]
    assert "snapshots=100" in await refused(raw, "BADARG", step(raw, "begin"))
    await raw.redis.hdel(META, "snapshot:s7:printer")
    await taken(raw)
    await raw.redis.hset(META, "snapshot:s7:printer", "1")
    await taken(raw, THIRD_ID)


@pytest.mark.parametrize(
    ("keys", "args"),
    [
        ([META, STATE, RECORD], ("printer", "start", ID)),
        ([META, STATE, RECORD], ("printer", "begin", "short")),
        ([META, STATE, RECORD], ("mailer", "begin", ID)),
        ([META, STATE, META], ("printer", "begin", ID)),
        ([META, STATE, RECORD, *own("balances")], ("printer", "begin", ID)),
        ([META, STATE, RECORD, *copy("balances"), *own("balances")], ("printer", "begin", ID)),
        ([META, STATE, RECORD, *own("balances"), *copy("limits")], ("printer", "begin", ID)),
    ],
)
async def test_a_malformed_call_writes_nothing(
    raw: Raw, keys: list[str], args: tuple[str, ...]
) -> None:
    await written(raw)
    await refused(raw, "BADARG", raw.call("snapshot", keys, *args))
