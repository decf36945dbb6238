"""register: a processor on a partition, new or with keys that were lost."""

from __future__ import annotations

import pytest

from tests.lua.conftest import ASIDE, LOG, META, NONCE, OTHER, OUTBOX, STATE, Raw
from tests.lua.steps import ready, refused, repeated

KEYS = [LOG, META, STATE]


@pytest.mark.parametrize(("start", "lag"), [("0", 3), ("$", 0)])
async def test_s6_a_new_processor_starts_at_the_given_end_and_keeps_its_checkpoint_after_that(
    raw: Raw, start: str, lag: int
) -> None:
    await raw.append(1, 3)
    replies = await repeated(raw, "register", KEYS, 1, 8, "xxh64", "printer", start)
    checkpoint = "0-0" if start == "0" else (await raw.ids())[-1]
    assert replies == ([1, checkpoint], [0, checkpoint])
    assert await raw.register("$" if start == "0" else "0") == [0, checkpoint]
    assert await raw.lag() == lag
    assert (await raw.claim(10))["lost"] == -1


async def test_a_processor_that_is_registered_after_a_trim_has_lost_nothing(raw: Raw) -> None:
    await raw.append(1, 6)
    await raw.redis.xtrim(LOG, maxlen=4, approximate=False)
    await raw.register()
    assert ((await raw.claim(10))["lost"], await raw.lag()) == (-1, 4)


async def test_a_partition_has_at_most_100_processors(raw: Raw) -> None:
    await raw.call("declare", [META], 1, 8, "xxh64")
    await raw.redis.hset(META, mapping={f"checkpoint:p{number}": "0-0" for number in range(99)})
    await raw.redis.hset(META, mapping={f"removed:q{number}": "1" for number in range(300)})
    await raw.redis.hset(META, mapping={f"dropped:p{number}": "1" for number in range(99)})
    assert await raw.register() == [1, "0-0"], "only registered processors count"
    other = [LOG, META, STATE.replace("printer", "mailer")]
    call = raw.call("register", other, 1, 8, "xxh64", "mailer", "0")
    assert "field=processor limit=100 registered=100" in await refused(raw, "BADARG", call)
    await raw.redis.delete(STATE)
    assert (await raw.register())[0] == 2, "it is registered already: its keys are restored"
    await raw.call("remove", [*KEYS, OUTBOX, *ASIDE], "printer")
    assert (await raw.call("register", other, 1, 8, "xxh64", "mailer", "0"))[0] == 1


async def test_calls_for_a_processor_that_is_not_registered_are_refused(raw: Raw) -> None:
    await raw.append(1)
    for call in (
        raw.claim(1),
        raw.call("seek", KEYS, "printer", "0", "", NONCE),
        raw.call("pause", [STATE]),
        raw.call("resume", [STATE]),
    ):
        assert "removed=1" not in await refused(raw, "UNREGISTERED", call)
    await refused(raw, "FENCED", raw.commit(1, "0-0", "1-0", 1))
    assert await raw.call("remove", [*KEYS, OUTBOX, *ASIDE], "printer") == 0


@pytest.mark.fault(32)
async def test_a_lost_state_or_consumer_group_is_restored_from_the_checkpoint_in_meta(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[2], 3)
    await raw.redis.delete(STATE)
    assert await raw.register() == [2, ids[2]]
    await raw.redis.xgroup_destroy(LOG, "printer")
    assert await raw.register() == [2, ids[2]]


@pytest.mark.parametrize("start", ["0", "$"])
async def test_s4_a_processor_that_lost_its_hashes_continues_where_its_consumer_group_is(
    raw: Raw, start: str
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(STATE, META)
    assert await raw.register(start) == [2, ids[1]]
    found = await raw.claim(11, OTHER)
    assert (found["checkpoint"], found["next_id"], found["lost"]) == (ids[1], ids[2], -1)
    assert await raw.lag() == 3


@pytest.mark.parametrize("events", [5, 2500])
async def test_the_lag_is_right_after_the_state_and_the_consumer_group_were_lost(
    raw: Raw, events: int
) -> None:
    await raw.register()
    for sequence in range(1, events // 500 + 2):
        await raw.append(sequence, min(events, 500), size=9_999)
    epoch, ids = (await raw.claim(10))["epoch"], await raw.ids()
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(STATE)
    await raw.redis.xgroup_destroy(LOG, "printer")
    assert await raw.register() == [2, ids[1]]
    assert await raw.lag() == len(ids) - 2


async def test_the_lag_is_right_after_a_lost_state_was_restored(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(STATE)
    assert await raw.register() == [2, ids[1]]
    again = (await raw.claim(11, OTHER))["epoch"]
    assert await raw.lag() == 3
    await raw.commit(again, ids[1], ids[4], 3, nonce=OTHER)
    assert (await raw.lag(), (await raw.claim(12))["lost"]) == (0, -1)


@pytest.mark.fault(37)
async def test_a_lost_log_is_created_again_with_the_counts_of_the_consumer_group(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 5)
    await raw.commit(epoch, "0-0", ids[4], 5)
    await raw.redis.delete(LOG)
    assert await raw.register() == [2, ids[4]]
    (group,) = await raw.redis.xinfo_groups(LOG)
    assert (group["entries-read"], group["last-delivered-id"].decode()) == (5, ids[4])
    assert await raw.lag() == 0
    await raw.append(2)
    assert await raw.lag() == 1


async def test_s3_a_lost_log_continues_above_its_old_ids(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(LOG)
    assert await raw.register() == [2, ids[1]]
    assert (await raw.redis.xinfo_stream(LOG))["last-generated-id"] == ids[1].encode()
    await raw.append(2, 2)
    found = await raw.claim(11, OTHER)
    assert (found["checkpoint"], found["next_id"]) == (ids[1], (await raw.ids())[0])
    assert (found["lost"], await raw.lag()) == (-1, 2)
