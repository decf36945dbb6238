"""Keys of another type are refused before anything is written."""

from __future__ import annotations

from tests.lua.conftest import (
    ASIDE,
    LOG,
    MEMBERS,
    META,
    OTHER,
    OUTBOX,
    PLAN,
    SESSIONS,
    STATE,
    Raw,
)
from tests.lua.steps import emit, ready, refused

KEYS = [LOG, META, STATE]


async def test_register_claim_and_append_are_refused_where_meta_is_no_hash(raw: Raw) -> None:
    await ready(raw)
    await raw.redis.delete(META)
    await raw.redis.set(META, "junk")
    for call in (raw.register(), raw.claim(11, OTHER), raw.append(2)):
        await refused(raw, "WRONGTYPE", call)


async def test_s5_commit_emit_and_remove_are_refused_where_meta_is_no_hash(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.delete(META)
    await raw.redis.set(META, "junk")
    await refused(raw, "WRONGTYPE", raw.commit(epoch, "0-0", ids[0], 1))
    await refused(raw, "WRONGTYPE", emit(raw, epoch, "0-0", ids[0]))
    await refused(raw, "WRONGTYPE", raw.call("remove", [*KEYS, OUTBOX, *ASIDE], "printer"))


async def test_sync_is_refused_where_a_key_of_its_group_has_another_type(raw: Raw) -> None:
    for key in (PLAN, MEMBERS, SESSIONS):
        await raw.redis.flushall()
        await raw.redis.set(key, "junk")
        await refused(raw, "WRONGTYPE", raw.sync("a", 1))
