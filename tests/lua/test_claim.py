"""claim: grants, tokens, and what the reply says about the owner before."""

from __future__ import annotations

import pytest

from tests.lua.conftest import LOG, META, OTHER, STATE, Raw
from tests.lua.steps import ready, refused

KEYS = [LOG, META, STATE]


async def test_s2_a_claim_needs_a_newer_grant_and_can_be_repeated(raw: Raw) -> None:
    await raw.register()
    first = await raw.claim(10)
    assert await raw.claim(10) == first
    assert "seen=10" in await refused(raw, "STALE_GRANT", raw.claim(10, OTHER))
    await refused(raw, "STALE_GRANT", raw.claim(9, OTHER))
    second = await raw.claim(11, OTHER)
    assert second["epoch"] > first["epoch"]


@pytest.mark.fault(10)
async def test_s2_epochs_rise_even_if_the_clock_went_back(raw: Raw) -> None:
    await raw.register()
    await raw.claim(10)
    ahead = 9_000_000_000_000
    await raw.redis.hset(STATE, "epoch", str(ahead))
    assert (await raw.claim(11, OTHER))["epoch"] == ahead + 1


async def test_an_unclean_tenure_is_counted_and_only_an_event_whose_start_was_recorded_is_blamed(
    raw: Raw,
) -> None:
    _, ids = await ready(raw)
    again = await raw.claim(11, OTHER)
    assert (again["unclean_tenures"], again["attempts"]) == (1, 0)
    await raw.call("attempt", [STATE], again["epoch"], OTHER, "start", ids[0], 0, "", "")
    third = await raw.claim(12)
    assert (third["unclean_tenures"], third["attempts"], third["event"]) == (2, 1, ids[0])
    assert third["deaths"] == 1
    await raw.commit(third["epoch"], "0-0", ids[0], 1)
    fourth = await raw.claim(13, OTHER)
    assert fourth["unclean_tenures"] == 1, "a commit resets the count"
    assert (fourth["attempts"], fourth["deaths"], fourth["event"]) == (0, 0, "")


async def test_an_owner_that_dies_with_no_events_left_counts_as_no_unclean_tenure(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[-1], len(ids))
    for grant in range(11, 15):
        assert (await raw.claim(grant, f"{grant}" * 16))["unclean_tenures"] == 0
    await raw.append(1, producer="late")
    assert (await raw.claim(15, OTHER))["unclean_tenures"] == 1


async def test_a_claim_without_its_log_or_consumer_group_is_refused(raw: Raw) -> None:
    await ready(raw)
    await raw.redis.xgroup_destroy(LOG, "printer")
    await refused(raw, "MISSING", raw.claim(11, OTHER))
    await raw.redis.delete(LOG)
    await refused(raw, "MISSING", raw.claim(11, OTHER))


async def test_a_claim_with_another_protocol_count_or_hash_is_a_mismatch(raw: Raw) -> None:
    await ready(raw)
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        call = raw.call("claim", KEYS, *seen, "printer", "me", 11, OTHER, "")
        await refused(raw, "MISMATCH", call)
