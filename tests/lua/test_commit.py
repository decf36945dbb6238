"""commit: the fence, repeats, the lag of the consumer group, and the lease's release."""

from __future__ import annotations

import pytest

from tests.lua.conftest import LOG, META, NONCE, OTHER, STATE, Raw
from tests.lua.steps import emit, lag_of, ready, refused

KEYS = [LOG, META, STATE]


@pytest.mark.fault(21)
async def test_s1_an_old_token_is_fenced_and_writes_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    newer = (await raw.claim(11, OTHER))["epoch"]
    await refused(raw, "FENCED", raw.commit(epoch, "0-0", ids[0], 1))
    await refused(raw, "FENCED", raw.commit(newer, "0-0", ids[0], 1))
    await refused(raw, "FENCED", raw.commit(epoch, "0-0", ids[0], 1, nonce=OTHER))
    await refused(
        raw, "FENCED", raw.call("attempt", [STATE], epoch, NONCE, "start", "1-0", 0, "", "")
    )
    assert await raw.commit(newer, "0-0", ids[0], 1, nonce=OTHER) == [1, 0]


@pytest.mark.fault(20)
async def test_s6_a_commit_compares_the_checkpoint_and_moves_the_consumer_group(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await raw.lag() == 5
    assert await raw.commit(epoch, "0-0", ids[1], 2) == [1, 0]
    assert await raw.lag() == 3
    before = await raw.dump()
    assert await raw.commit(epoch, "0-0", ids[1], 2) == [0, 0]
    assert await raw.dump() == before
    await refused(raw, "CONFLICT", raw.commit(epoch, "0-0", ids[2], 3))
    await refused(raw, "BADARG", raw.commit(epoch, ids[1], ids[0], 1))
    assert await raw.commit(epoch, ids[1], ids[4], 3) == [1, 0]
    assert await raw.lag() == 0


@pytest.mark.fault(18)
async def test_s6_a_release_can_be_repeated_and_ends_the_token(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await raw.commit(epoch, "0-0", ids[0], 1, release=1) == [1, 0]
    assert await raw.commit(epoch, "0-0", ids[0], 1, release=1) == [0, 0]
    await refused(raw, "FENCED", raw.commit(epoch, ids[0], ids[1], 1))
    await refused(raw, "STALE_GRANT", raw.claim(10))
    assert (await raw.claim(11, OTHER))["unclean_tenures"] == 0, (
        "a released lease is no unclean tenure"
    )


async def test_a_commit_removes_the_failures_of_committed_events_and_keeps_those_of_later_ones(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 3)
    failed = (ids[1], 2, "ValueError", "no")
    await raw.call("attempt", [STATE], epoch, NONCE, "quarantine", *failed)
    before = await raw.redis.hgetall(STATE)
    await raw.commit(epoch, "0-0", ids[0], 1)
    after = await raw.redis.hgetall(STATE)
    for name in (b"attempts", b"event", b"error_type", b"error_message", b"error_event"):
        assert after[name] == before[name]
    await raw.commit(epoch, ids[0], ids[1], 1)
    passed = await raw.redis.hgetall(STATE)
    assert (passed[b"attempts"], passed[b"event"]) == (b"0", b"")
    assert b"error_type" not in passed


async def test_a_commit_removes_a_failure_with_0_attempts(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.call("attempt", [STATE], epoch, NONCE, "failure", ids[0], 0, "Boom", "x")
    await raw.commit(epoch, "0-0", ids[0], 1)
    assert await raw.redis.hmget(STATE, ["event", "error_type"]) == [b"", None]


@pytest.mark.fault(37)
async def test_a_commit_without_its_log_or_consumer_group_is_refused(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.xgroup_destroy(LOG, "printer")
    await refused(raw, "MISSING", raw.commit(epoch, "0-0", ids[0], 1))
    await raw.redis.delete(LOG)
    await refused(raw, "MISSING", raw.commit(epoch, "0-0", ids[0], 1))


async def test_s4_a_commit_without_its_registration_is_refused(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.delete(META)
    await refused(raw, "MISSING", raw.commit(epoch, "0-0", ids[0], 1))
    await refused(raw, "MISSING", emit(raw, epoch, "0-0", ids[0]))
    assert await raw.register() == [2, "0-0"]
    assert await raw.commit(epoch, "0-0", ids[0], 1) == [1, 0]


async def test_s5_a_stored_counter_that_is_no_number_stops_the_call_before_its_first_write(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.hset(STATE, "processed", "junk")
    await refused(raw, "user_script:[0-9]+:", raw.commit(epoch, "0-0", ids[0], 1))
    await raw.redis.hset(STATE, mapping={"processed": "0", "read": "1.5"})
    await refused(raw, "user_script:[0-9]+:", raw.claim(11, OTHER))


@pytest.mark.parametrize("keys", [[], KEYS[:2], [*KEYS, LOG]])
async def test_a_commit_with_a_wrong_number_of_keys_is_refused(raw: Raw, keys: list[str]) -> None:
    epoch, ids = await ready(raw)
    step = ("printer", epoch, NONCE, "0-0", ids[0], 1, 0)
    await refused(raw, "BADARG", raw.call("commit", keys, *step))
    await refused(raw, "BADARG", raw.call("commit", KEYS, *step, "x"))
    await refused(
        raw, "BADARG", raw.call("transact", keys, *step, "derived", 9, "refuse", 1, 2, "f", "v")
    )
    assert await raw.call("commit", KEYS, *step) == [1, 0]


async def test_s7_a_commit_to_an_event_that_was_never_in_the_log_is_refused(raw: Raw) -> None:
    # After a failover the entry is missing and the new server's clock is behind: events with lower
    # ids are still to come, and a checkpoint at this id would skip them.
    epoch, ids = await ready(raw, 2)
    later = ids[1].split("-")[0] + "-99"
    said = await refused(raw, "CONFLICT", raw.commit(epoch, "0-0", later, 3))
    assert f"missing={later}" in said
    await raw.redis.xtrim(LOG, maxlen=0, approximate=False)
    await refused(raw, "CONFLICT", raw.commit(epoch, "0-0", later, 3))


@pytest.mark.parametrize("removed", [0, 1, 3])
async def test_s5_a_commit_to_an_event_before_the_first_that_the_log_never_had_is_refused(
    raw: Raw, removed: int
) -> None:
    """A primary that was replaced has shown it, and its producer sends it again."""
    epoch, ids = await ready(raw, 3)
    for each in ids[:removed]:
        await raw.redis.xdel(LOG, each)
    shown = f"{int(ids[0].split('-')[0]) - 1}-0"
    said = await refused(raw, "CONFLICT", raw.commit(epoch, "0-0", shown, removed + 1))
    assert f"missing={shown}" in said


@pytest.mark.parametrize("kept", [0, 1])
async def test_s4_a_commit_to_an_event_that_was_trimmed_meanwhile_is_applied(
    raw: Raw, kept: int
) -> None:
    epoch, ids = await ready(raw, 3)
    await raw.redis.xtrim(LOG, maxlen=kept, approximate=False)
    assert await raw.commit(epoch, "0-0", ids[1], 2) == [1, 0]


async def test_a_commit_of_events_that_were_dropped_meanwhile_adds_no_lag(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.append(2, 6, size=10, when_full="drop_oldest")
    assert await lag_of(raw, "printer") == 10
    await raw.commit(epoch, "0-0", ids[2], 3)
    assert await lag_of(raw, "printer") == 10, "they were read before they were dropped"
    await raw.commit(epoch, ids[2], ids[6], 4)
    assert await lag_of(raw, "printer") == 8
