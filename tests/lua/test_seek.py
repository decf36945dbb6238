"""seek: an operator sets a checkpoint."""

from __future__ import annotations

import pytest

from tests.lua.conftest import LOG, META, NONCE, OTHER, STATE, Raw
from tests.lua.steps import ready, refused, repeated, transact

KEYS = [LOG, META, STATE]
THIRD = "2" * 32


@pytest.mark.parametrize(("start", "lag"), [("0", 5), ("$", 0), ("first", 5), ("third", 3)])
async def test_a_seek_fences_the_owner_and_keeps_the_lag_exact(
    raw: Raw, start: str, lag: int
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[3], 4)
    target = {"first": ids[0], "third": ids[2]}.get(start, start)
    reply = await raw.call("seek", [LOG, META, STATE], "printer", target, "", OTHER)
    assert await raw.call("seek", [LOG, META, STATE], "printer", target, "", OTHER) == reply
    assert await raw.lag() == lag
    await refused(raw, "FENCED", raw.commit(epoch, ids[3], ids[4], 1))


async def test_a_seek_to_a_trimmed_event_starts_at_the_oldest(raw: Raw) -> None:
    _, ids = await ready(raw, 6)
    await raw.redis.xtrim(LOG, minid=ids[3], approximate=False)
    for start in ("0", ids[1]):
        reply = await raw.call("seek", KEYS, "printer", start, "", OTHER + start[-1])
        assert reply == ["0-0", 3]
        assert await raw.lag() == 3
    found = await raw.claim(11, THIRD)
    assert (found["lost"], found["next_id"]) == (-1, ids[3])


@pytest.mark.parametrize("start", ["0-0", "0-1", "1-0"])
async def test_a_seek_to_an_id_before_all_events_starts_at_the_oldest(raw: Raw, start: str) -> None:
    await ready(raw)
    assert await raw.call("seek", KEYS, "printer", start, "", OTHER) == ["0-0", 0]


async def test_a_seek_to_an_id_after_all_events_starts_at_the_next_one(raw: Raw) -> None:
    _, ids = await ready(raw)
    reply = await raw.call("seek", KEYS, "printer", "9000000000000-0", "", OTHER)
    assert (reply, await raw.lag()) == ([ids[-1], 5], 0)
    await raw.append(2, 2)
    found = await raw.claim(11, THIRD)
    assert (found["next_id"], await raw.lag()) == ((await raw.ids())[5], 2)


async def test_a_seek_far_from_both_ends_needs_the_number_of_events_before(raw: Raw) -> None:
    await raw.register()
    for sequence in range(1, 4):
        await raw.append(sequence, 1000, size=10_000)
    ids = await raw.ids()
    for read in ("", 3001):
        call = raw.call("seek", KEYS, "printer", ids[1500], read, NONCE)
        assert "field=read" in await refused(raw, "BADARG", call)
    assert await raw.call("seek", KEYS, "printer", ids[1500], 1500, NONCE) == [ids[1499], 1500]
    assert await raw.lag() == 1500
    for index, nonce in ((1000, OTHER), (2000, THIRD)):
        reply = await raw.call("seek", KEYS, "printer", ids[index], "", nonce)
        assert reply == [ids[index - 1], index], "counted from the nearer end"
        assert await raw.lag() == 3000 - index


async def test_s1_after_a_seek_only_a_new_grant_can_claim_and_no_event_is_blamed(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.call("attempt", [STATE], epoch, NONCE, "quarantine", ids[0], 3, "Boom", "x")
    await raw.call("seek", KEYS, "printer", ids[2], "", OTHER)
    await refused(raw, "STALE_GRANT", raw.claim(10))
    found = await raw.claim(11, THIRD)
    assert found["epoch"] > epoch
    assert (found["checkpoint"], found["next_id"]) == (ids[1], ids[2])
    assert (found["unclean_tenures"], found["attempts"], found["quarantined"]) == (0, 0, 0)


async def test_s6_a_repeated_seek_does_not_move_a_checkpoint_that_was_claimed_meanwhile(
    raw: Raw,
) -> None:
    _, ids = await ready(raw)
    first = await raw.call("seek", KEYS, "printer", "$", "", OTHER)
    epoch = (await raw.claim(11, THIRD))["epoch"]
    await raw.append(2, 3)
    now = await raw.ids()
    before = await raw.dump()
    assert await raw.call("seek", KEYS, "printer", "$", "", OTHER) == first
    assert await raw.dump() == before
    assert await raw.commit(epoch, ids[-1], now[5], 1, nonce=THIRD) == [1, 0]
    described = await raw.call("describe", KEYS, "printer")
    assert "last_seek" not in described


async def test_a_seek_to_an_id_beyond_64_bits_is_refused(raw: Raw) -> None:
    await ready(raw)
    for start in ("18446744073709551616-0", "0-18446744073709551616", "9" * 400 + "-0"):
        call = raw.call("seek", KEYS, "printer", start, "", OTHER)
        assert "field=start" in await refused(raw, "BADARG", call)


async def test_a_seek_without_its_log_or_consumer_group_is_refused(raw: Raw) -> None:
    await ready(raw)
    await raw.redis.xgroup_destroy(LOG, "printer")
    await refused(raw, "MISSING", raw.call("seek", KEYS, "printer", "0", "", OTHER))
    await raw.redis.delete(LOG)
    await refused(raw, "MISSING", raw.call("seek", KEYS, "printer", "0", "", OTHER))


# Tables are emptied with it

TABLE, OTHER_TABLE = (META.replace(":meta", f":table:{name}") for name in ("balances", "limits"))
EXPIRY = f"{TABLE}:expiry"
WRITES = ("table", 1, 0, "alice", "5")


async def written(raw: Raw) -> tuple[int, list[str]]:
    """A claimed partition whose first event has written two tables."""
    epoch, ids = await ready(raw)
    tables = (TABLE, OTHER_TABLE)
    await transact(raw, epoch, "0-0", ids[0], keys=tables, effects=WRITES * 2)
    return epoch, ids


async def test_s5_tables_are_emptied_together_with_the_seek_and_keep_their_writer(raw: Raw) -> None:
    epoch, ids = await written(raw)
    await raw.redis.zadd(EXPIRY, {"alice": 1})
    cleared = [*KEYS, TABLE, EXPIRY]
    assert await repeated(raw, "seek", cleared, "printer", "0", "", OTHER) == (["0-0", 0],) * 2
    assert await raw.redis.exists(TABLE, EXPIRY) == 0
    assert await raw.redis.hgetall(OTHER_TABLE) == {b"alice": b"5"}
    assert await raw.redis.hget(META, "table:balances") == b"printer"
    step = transact(raw, epoch, ids[0], ids[1], keys=(TABLE,), effects=WRITES)
    await refused(raw, "FENCED", step)


async def test_s6_a_repeated_seek_does_not_empty_what_was_written_since(raw: Raw) -> None:
    _, ids = await written(raw)
    cleared = [*KEYS, TABLE, EXPIRY]
    await raw.call("seek", cleared, "printer", "0", "", OTHER)
    epoch = (await raw.claim(11, THIRD))["epoch"]
    await transact(raw, epoch, "0-0", ids[0], 0, THIRD, keys=(TABLE,), effects=WRITES)
    before = await raw.dump()
    assert await raw.call("seek", cleared, "printer", "0", "", OTHER) == ["0-0", 0]
    assert await raw.dump() == before


async def test_a_table_of_another_processor_is_not_emptied(raw: Raw) -> None:
    await written(raw)
    await raw.redis.hset(META, "table:limits", "mailer")
    call = raw.call("seek", [*KEYS, TABLE, OTHER_TABLE], "printer", "0", "", OTHER)
    said = await refused(raw, "NOT_WRITER", call)
    assert said == "NOT_WRITER table=limits writer=mailer"


@pytest.mark.parametrize(
    "more",
    [
        [STATE],
        [TABLE, TABLE],
        [EXPIRY],
        [f"{TABLE}:more"],
        [TABLE.replace(":orders:table", ":other:table")],
        [META.replace(":meta", ":snapshot:s:printer:table:balances")],
        [META.replace(":meta", ":table:")],
    ],
)
async def test_every_key_behind_the_state_is_one_of_a_table(raw: Raw, more: list[str]) -> None:
    await written(raw)
    call = raw.call("seek", [*KEYS, *more], "printer", "0", "", OTHER)
    assert "field=tables" in await refused(raw, "BADARG", call)


async def test_a_table_whose_keys_expire_is_named_with_both_its_keys(raw: Raw) -> None:
    await written(raw)
    await raw.redis.hset(META, "expires:balances", "60")
    call = raw.call("seek", [*KEYS, TABLE], "printer", "0", "", OTHER)
    assert "missing=balances" in await refused(raw, "BADARG", call)
