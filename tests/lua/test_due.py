"""due: which postponed events are due, by the clock of the server; and how they are postponed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import ASIDE, META, OTHER, PARKED, POSTPONED, STATE, Raw
from tests.lua.parking import COUNTS, EVENTS, replayed
from tests.lua.postponing import due, key_of, postpone, postponed
from tests.lua.steps import ready, refused

TABLE = META.replace(":meta", ":table:balances")


async def test_s5_an_event_is_postponed_with_the_checkpoint_that_passes_it(raw: Raw) -> None:
    epoch, ids, entries = await postponed(raw, 60_000)
    assert await raw.redis.hmget(STATE, ["checkpoint", "parked"]) == [ids[1].encode(), b"2"]
    assert await raw.lag() == 3
    stored: Any = await raw.redis.zrange(POSTPONED, 0, -1, withscores=True)
    assert [each.decode() for each, _ in stored] == entries
    told = await raw.redis.hmget(STATE, ["postponed", "postponed_due"])
    assert told == [b"2", b"%d" % stored[0][1]]
    before = await raw.dump()
    assert await postpone(raw, epoch, ids[0], ids[1], 60_000) == [0, 0]
    assert await raw.dump() == before, "a repeat"


async def test_what_is_not_due_is_not_told_and_the_wait_for_it_is(raw: Raw) -> None:
    await postponed(raw, 60_000)
    next_in, gone, found = await due(raw)
    assert (gone, found) == (0, [])
    assert 0 < next_in <= 60_000


async def test_what_is_due_is_told_as_often_as_it_is_asked_for_and_stays(raw: Raw) -> None:
    _, ids, entries = await postponed(raw, 0)
    before = await raw.dump()
    for _ in range(2):
        next_in, gone, found = await due(raw)
        assert (next_in, gone) == (-1, 0)
        assert [(entry, value) for entry, value, _ in found] == [(each, "1") for each in entries]
        assert found[0][2][:4] == ["key", key_of(ids[0]), "event", ids[0]]
    assert await raw.dump() == before
    assert [entry for entry, _, _ in (await due(raw, 1))[2]] == entries[:1]


async def test_a_try_that_succeeds_writes_its_effects_and_ends_it_once(raw: Raw) -> None:
    epoch, ids, (first, second) = await postponed(raw, 0)
    more = ([POSTPONED, TABLE], ["table", 1, 0, "alice", "5"])
    assert await replayed(raw, epoch, ids[1], first, more=more) == [1, 0]
    assert await raw.redis.hget(TABLE, "alice") == b"5"
    await raw.redis.hset(TABLE, "alice", "6")
    assert await replayed(raw, epoch, ids[1], first, more=more) == [0, 0]
    assert await raw.redis.hget(TABLE, "alice") == b"6"
    assert [entry for entry, _, _ in (await due(raw))[2]] == [second]
    assert await raw.redis.hmget(STATE, ["parked", "postponed"]) == [b"1", b"1"]
    await replayed(raw, epoch, ids[1], second, more=([POSTPONED], []))
    assert await raw.redis.hmget(STATE, ["parked", "postponed"]) == [b"0", None]
    assert await raw.redis.exists(POSTPONED, COUNTS) == 0


async def test_a_client_that_does_not_postpone_leaves_what_the_next_look_cleans(raw: Raw) -> None:
    epoch, ids, (first, second) = await postponed(raw, 0)
    assert await replayed(raw, epoch, ids[1], first) == [1, 0]
    next_in, gone, found = await due(raw)
    assert (next_in, gone, [entry for entry, _, _ in found]) == (-1, 1, [second])
    assert (await due(raw))[1] == 0
    assert await raw.redis.hget(STATE, "postponed") == b"1"


async def test_dropped_and_removed_ones_are_gone(raw: Raw) -> None:
    _, _, (first, second) = await postponed(raw, 0)
    assert await raw.call("drop_parked", [STATE, *ASIDE], OTHER, first) == 1
    assert [entry for entry, _, _ in (await due(raw))[2]] == [second]
    assert await raw.redis.hget(STATE, "postponed") == b"1"
    outbox = META.replace(":meta", ":outbox:printer")
    log = META.replace(":meta", ":log")
    assert await raw.call("remove", [log, META, STATE, outbox, *ASIDE], "printer") == 1
    assert await raw.redis.exists(*ASIDE, STATE) == 0


async def test_s4_without_room_nothing_is_passed(raw: Raw) -> None:
    epoch, ids, _ = await postponed(raw, 0)
    said = await refused(raw, "FULL", postpone(raw, epoch, ids[1], ids[2], 0, size=2))
    assert f"limit=2 sink={EVENTS}" in said


async def test_s1_an_old_token_postpones_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.claim(11, OTHER)
    await refused(raw, "FENCED", postpone(raw, epoch, "0-0", ids[0], 0))


@pytest.mark.parametrize("ms", ["", "x", "-1", "1.5", 31_622_400_001])
async def test_a_malformed_postponement_writes_nothing(raw: Raw, ms: int | str) -> None:
    epoch, ids = await ready(raw)
    await refused(raw, "BADARG", postpone(raw, epoch, "0-0", ids[0], ms))


async def test_keys_of_another_processor_are_out_of_reach(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    other = POSTPONED.replace("printer", "mailer")
    for keys in ([EVENTS, COUNTS, other], [EVENTS, COUNTS], [EVENTS, COUNTS, PARKED[2]]):
        await refused(raw, "BADARG", postpone(raw, epoch, "0-0", ids[0], 0, keys=keys))


@pytest.mark.parametrize("limit", ["", "0", "x", "1.5", 101])
async def test_a_malformed_call_writes_nothing(raw: Raw, limit: int | str) -> None:
    await postponed(raw, 0)
    await refused(raw, "BADARG", due(raw, limit))
    await refused(raw, "BADARG", raw.call("due", [STATE], 5))
