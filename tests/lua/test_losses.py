"""S7: events that disappear from a log are noticed, counted and reported once."""

from __future__ import annotations

import pytest

from tests.lua.conftest import LOG, OTHER, STATE, Raw
from tests.lua.steps import ready


async def accepted_once(raw: Raw, lost: int, exact: int) -> None:
    """Claims report the loss until it is accepted, and never after that."""
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"]) == (lost, exact)
    assert (await raw.claim(11, OTHER, accept=str(lost)))["lost"] == -1
    assert (await raw.claim(12))["lost"] == -1
    assert int(await raw.redis.hget(STATE, "lost") or 0) == lost


async def test_s7_a_loss_is_reported_until_it_is_accepted_with_its_own_number(raw: Raw) -> None:
    epoch, ids = await ready(raw, 10)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.xtrim(LOG, minid=ids[6], approximate=False)
    found = await raw.claim(10)
    assert (found["lost"], found["exact"], found["next_id"]) == (4, 1, ids[6])
    assert (await raw.claim(10))["lost"] == 4, "until it is accepted"
    assert (await raw.claim(10, accept="3"))["lost"] == 4, "only by its own number"
    assert (await raw.claim(10, accept="4"))["lost"] == -1
    assert (await raw.claim(10, accept="4"))["lost"] == -1
    assert await raw.redis.hget(STATE, "lost") == b"4"
    assert await raw.lag() == 4


@pytest.mark.parametrize("done", [0, 1, 4])
@pytest.mark.parametrize("kept", [0, 2, 5])
async def test_s7_the_loss_in_a_trimmed_log_is_exact_and_the_lag_is_right_after_it(
    raw: Raw, done: int, kept: int
) -> None:
    epoch, ids = await ready(raw, 10)
    if done:
        await raw.commit(epoch, "0-0", ids[done - 1], done)
    await raw.redis.xtrim(LOG, maxlen=kept, approximate=False)
    await accepted_once(raw, 10 - done - kept, 1)
    assert await raw.lag() == kept


@pytest.mark.parametrize("done", [3, 5])
async def test_s4_trimming_committed_events_is_no_loss(raw: Raw, done: int) -> None:
    epoch, ids = await ready(raw, 10)
    await raw.commit(epoch, "0-0", ids[4], 5)
    await raw.redis.xtrim(LOG, minid=ids[done], approximate=False)
    assert (await raw.claim(11, OTHER))["lost"] == -1
    assert await raw.lag() == 5


async def test_s7_processing_continues_after_a_loss_with_an_exact_lag(raw: Raw) -> None:
    epoch, ids = await ready(raw, 10)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.xtrim(LOG, maxlen=0, approximate=False)
    await accepted_once(raw, 8, 1)
    await raw.append(2, 3)
    now = await raw.claim(13)
    first, *_, last = await raw.ids()
    assert (now["lost"], now["checkpoint"], now["next_id"]) == (-1, ids[1], first)
    assert await raw.lag() == 3
    assert await raw.commit(now["epoch"], ids[1], last, 3) == [1, 0]
    assert (await raw.lag(), (await raw.claim(14, OTHER))["lost"]) == (0, -1)


async def test_s7_an_event_deleted_from_the_middle_is_found_at_the_end(raw: Raw) -> None:
    epoch, ids = await ready(raw, 6)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.xdel(LOG, ids[3])
    await raw.commit(epoch, ids[1], ids[5], 3)
    await accepted_once(raw, 1, 1)
    assert await raw.lag() == 0


async def test_s7_events_deleted_from_the_end_are_found_at_once(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[2], 3)
    await raw.redis.xdel(LOG, *ids[3:])
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"], found["next_id"]) == (2, 1, "")
    assert (await raw.claim(11, OTHER, accept="2"))["lost"] == -1
    await raw.append(2, 1)
    assert (await raw.claim(12))["lost"] == -1


async def test_s7_a_deleted_entry_at_the_checkpoint_is_no_loss_but_reported_as_missing(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    assert (await raw.claim(10))["checkpoint_exists"] == 1
    await raw.redis.xdel(LOG, ids[1])
    found = await raw.claim(10)
    assert (found["lost"], found["checkpoint_exists"], found["next_id"]) == (-1, 0, ids[2])


@pytest.mark.fault(34)
async def test_s7_the_loss_in_a_log_that_was_deleted_and_filled_again_is_a_lower_bound(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(LOG)
    await raw.append(2, 1)
    assert await raw.register() == [2, ids[1]]
    await accepted_once(raw, 0, 0)
    assert await raw.lag() == 1


@pytest.mark.fault(12, 15)
async def test_s7_a_log_that_went_back_in_time_is_noticed_and_accepted_once(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 3)
    await raw.commit(epoch, "0-0", ids[2], 3)
    await raw.redis.delete(LOG)
    await raw.redis.xadd(LOG, {"f": "v"}, id="5-0")
    await raw.redis.xgroup_create(LOG, "printer", "0")
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"]) == (0, 0)
    accepted = await raw.claim(11, OTHER, accept="0")
    assert await raw.claim(11, OTHER, accept="0") == accepted
    assert (accepted["lost"], accepted["checkpoint"], accepted["next_id"]) == (-1, "0-0", "5-0")
