"""S7: events that leave a log behind Runnel's back are found, counted and said once."""

from __future__ import annotations

import pytest

from tests.lua.conftest import LOG, OTHER, STATE, Raw
from tests.lua.steps import ready, refused


async def accepted_once(raw: Raw, lost: int, exact: int) -> None:
    """The next claim names the loss until it is accepted, and never again after that."""
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"]) == (lost, exact)
    assert (await raw.claim(11, OTHER, accept=str(lost)))["lost"] == -1
    assert (await raw.claim(12))["lost"] == -1
    assert int(await raw.redis.hget(STATE, "lost") or 0) == lost


@pytest.mark.parametrize("done", [0, 1, 4])
@pytest.mark.parametrize("kept", [0, 2, 5])
async def test_s7_a_trimmed_log_tells_the_exact_loss_and_lag_is_right_after_it(
    raw: Raw, done: int, kept: int
) -> None:
    epoch, ids = await ready(raw, 10)
    if done:
        await raw.commit(epoch, "0-0", ids[done - 1], done)
    await raw.redis.xtrim(LOG, maxlen=kept, approximate=False)
    await accepted_once(raw, 10 - done - kept, 1)
    assert await raw.lag() == kept


@pytest.mark.parametrize("done", [3, 5])
async def test_s4_trimming_only_what_is_passed_is_no_loss(raw: Raw, done: int) -> None:
    epoch, ids = await ready(raw, 10)
    await raw.commit(epoch, "0-0", ids[4], 5)
    await raw.redis.xtrim(LOG, minid=ids[done], approximate=False)
    assert (await raw.claim(11, OTHER))["lost"] == -1
    assert await raw.lag() == 5


async def test_s7_work_goes_on_after_a_loss_with_exact_lag(raw: Raw) -> None:
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


async def test_s7_an_event_deleted_from_the_middle_is_missed_at_the_end(raw: Raw) -> None:
    epoch, ids = await ready(raw, 6)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.xdel(LOG, ids[3])
    await raw.commit(epoch, ids[1], ids[5], 3)
    await accepted_once(raw, 1, 1)
    assert await raw.lag() == 0


async def test_s7_a_deleted_checkpoint_entry_is_no_loss_but_no_anchor_either(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    assert (await raw.claim(10))["checkpoint_exists"] == 1
    await raw.redis.xdel(LOG, ids[1])
    found = await raw.claim(10)
    assert (found["lost"], found["checkpoint_exists"], found["next_id"]) == (-1, 0, ids[2])


@pytest.mark.fault(34)
async def test_s7_a_deleted_log_that_was_sent_to_again_tells_a_lower_bound(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(LOG)
    await raw.append(2, 1)
    assert await raw.register() == [2, ids[1]]
    await accepted_once(raw, 0, 0)
    assert await raw.lag() == 1


async def test_s3_a_deleted_log_that_is_mended_goes_on_above_its_old_ids(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(LOG)
    assert await raw.register() == [2, ids[1]]
    assert (await raw.redis.xinfo_stream(LOG))["last-generated-id"] == ids[1].encode()
    await raw.append(2, 2)
    found = await raw.claim(11, OTHER)
    assert (found["checkpoint"], found["next_id"]) == (ids[1], (await raw.ids())[0])
    assert (found["lost"], await raw.lag()) == (-1, 2)


async def test_s7_events_deleted_at_the_very_end_of_the_log_are_counted(raw: Raw) -> None:
    epoch, ids = await ready(raw, 4)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.xdel(LOG, ids[2], ids[3])
    await accepted_once(raw, 2, 1)


async def test_s7_a_commit_to_an_event_that_the_log_never_had_is_refused(raw: Raw) -> None:
    # A failover took it back, and the new server's clock is behind: events with lower ids will
    # come, and a checkpoint there would pass over them.
    epoch, ids = await ready(raw, 2)
    later = ids[1].split("-")[0] + "-99"
    said = await refused(raw, "CONFLICT", raw.commit(epoch, "0-0", later, 3))
    assert f"missing={later}" in said
    await raw.redis.xtrim(LOG, maxlen=0, approximate=False)
    await refused(raw, "CONFLICT", raw.commit(epoch, "0-0", later, 3))


@pytest.mark.parametrize("kept", [0, 1])
async def test_s4_a_commit_to_an_event_that_was_trimmed_since_is_accepted(
    raw: Raw, kept: int
) -> None:
    epoch, ids = await ready(raw, 3)
    await raw.redis.xtrim(LOG, maxlen=kept, approximate=False)
    assert await raw.commit(epoch, "0-0", ids[1], 2) == [1, 0]
