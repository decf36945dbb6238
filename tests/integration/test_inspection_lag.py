"""How far behind a partition is, though entries were deleted or dropped, or the clock was ahead."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import protocol
from runnel.protocol import CheckpointMove
from tests.integration.inspected import CONTRACT, Shop


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    return Shop(redis, app_name)


async def test_the_lag_is_0_if_the_newest_entry_was_deleted_and_all_others_were_read(
    shop: Shop,
) -> None:
    first, *deleted = await shop.send(0, 3)
    await shop.redis.xdel(shop.keys(0).log, *deleted)
    await shop.open()
    await shop.work()
    move = CheckpointMove("0-0", first, 1)
    await shop.scripts.call(protocol.commit(shop.keys(0), shop.tokens[0], move))
    assert (await shop.row(0))["lag_events"] == 0


async def test_a_deleted_entry_that_is_still_to_be_counted_leaves_the_lag_unknown(
    shop: Shop,
) -> None:
    await shop.open()
    await shop.work()
    first, newest = await shop.send(0, 2)
    await shop.redis.xdel(shop.keys(0).log, newest)
    move = CheckpointMove("0-0", first, 1)
    await shop.scripts.call(protocol.commit(shop.keys(0), shop.tokens[0], move))
    assert (await shop.row(0))["lag_events"] is None


async def test_the_lag_is_unknown_if_all_entries_were_deleted(
    shop: Shop,
) -> None:
    await shop.open()
    await shop.work()
    sent = await shop.send(0, 3)
    await shop.redis.xdel(shop.keys(0).log, *sent)
    row = await shop.row(0)
    assert (row["lag_events"], row["lag_ms"]) == (None, 0)


async def test_an_id_ahead_of_the_clock_hides_no_stall_and_gives_no_age(shop: Shop) -> None:
    await shop.open()
    ahead = await shop.now() + 3_600_000
    log = shop.keys(2).log
    await shop.redis.xadd(log, {"json": "{}"}, id=f"{ahead}-0")
    await shop.send(2, 2)
    await shop.work()
    await shop.set(2, moved_at=await shop.now() - 90_000)
    row = await shop.row(2)
    assert (row["lag_events"], row["lag_ms"]) == (3, None)
    assert 90_000 <= row["current_event_ms"] < 120_000
    seen = await shop.seen()
    assert (seen["processors"][0]["state"], seen["totals"]["lag_ms"]) == ("stalled", None)
    # A little ahead is the clock's own unrest.
    near = await shop.now() + 400
    await shop.redis.xadd(shop.keys(1).log, {"json": "{}"}, id=f"{near}-0")
    assert (await shop.row(1))["lag_ms"] == 0


@pytest.mark.parametrize("deleted", [0, 2])
async def test_what_was_dropped_leaves_the_lag_at_once(shop: Shop, deleted: int) -> None:
    await shop.open()
    await shop.send(1, 9)
    await shop.work()
    prefix, log = shop.keys(1).prefix, shop.keys(1).log
    entries = [[b"json", b"{}"]] * 7
    call = protocol.append(prefix, CONTRACT, 10, "drop_oldest", "p", 1, entries)
    await shop.scripts.call(call)
    left: Any = await shop.redis.xrange(log)
    if deleted:
        await shop.redis.xdel(log, *(id_ for id_, _ in left[1 : 1 + deleted]))
    row = await shop.row(1)
    assert row["lag_events"] == await shop.redis.xlen(log) == len(left) - deleted


async def test_lost_events_are_shown(shop: Shop) -> None:
    await shop.open()
    await shop.set(0, lost=7)
    assert (await shop.row(0))["lost"] == 7
