"""What `inspect` shows of running workers."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import Redis

from runnel import (
    Events,
)
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.worker.desk import Desk
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


async def test_a_handler_that_fails_without_a_current_event_shows_in_inspect(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    broken = True

    async def work(events: Events[Item]) -> None:
        if broken:
            raise ValueError("no connection to begin with")
        async for item in events.records():
            ledger.seen.append(item.number)

    ledger.processor(work, exception_policy="ignore", backoff_max=0.05)
    async with ledger.running():
        row = await until(lambda: failing_row(redis, ledger), "it is shown")
        assert (row["error"]["type"], row["error"]["event"]) == ("ValueError", row["checkpoint"])
        assert row["attempts"] == 0
        await ledger.send(1)
        broken = False
        await until(lambda: caught_up(redis, ledger), "it continues")
        assert (await ledger.row(redis))["failing"] is False


async def failing_row(redis: Redis, ledger: Ledger) -> dict[str, Any] | None:
    row = await ledger.row(redis)
    return row if row.get("failing") else None


async def test_the_lag_of_the_consumer_group_is_that_of_inspect_at_every_sample(
    redis: Redis, ledger: Ledger
) -> None:
    samples, refilled = 0, False

    async def slowly(events: Events[Item]) -> None:
        async for item in events.records():
            await asyncio.sleep(0.01 if samples > 5 else 0.05)
            ledger.seen.append(item.number)

    ledger.processor(slowly)
    await ledger.send(*range(150))
    async with ledger.running():
        await until(lambda: ledger.seen, "it has begun")
        while len(ledger.seen) < 300 or samples <= 5:
            if not refilled and samples >= 3:
                refilled = True
                await ledger.send(*range(150, 300))
            (before,) = await redis.xinfo_groups(ledger.log)
            row = await ledger.row(redis)
            (after,) = await redis.xinfo_groups(ledger.log)
            # Three reads, one after the other: if the first and the last are equal, nothing moved.
            assert after["lag"] is not None
            if before == after:
                assert row["lag_events"] == after["lag"]
                samples += 1
        await until(lambda: caught_up(redis, ledger), "all is committed")
    (group,) = await redis.xinfo_groups(ledger.log)
    assert (group["lag"], group["pending"], group["entries-read"]) == (0, 0, 300)


async def test_the_events_in_hand_are_shown_and_those_that_are_finished_ahead(
    redis: Redis, redis_url: str, desk: Desk
) -> None:
    desk.declare(concurrency=2, prefetch=10)
    desk.hold("a")
    await desk.send(("a", 0), *((f"other-{number}", number) for number in range(50)))

    async def shown() -> list[tuple[int | None, int | None]]:
        seen = await inspect(redis, await check_server(redis, redis_url), desk.app.name)
        rows = [
            *seen["members"],
            *(row for each in seen["processors"] for row in each["partitions"]),
        ]
        return [(row["in_hand"], row["finished_ahead"]) for row in rows]

    async def show(events: int, ahead: int) -> bool:
        return await shown() == [(events, ahead)] * 2

    async with desk.working():
        await until(lambda: show(10, 9), "all but the first one are finished")
        desk.let_go()
        await until(lambda: show(0, 0), "nothing is in hand")


async def test_apps_in_one_redis_do_not_disturb_each_other(redis: Redis, redis_url: str) -> None:
    one, two = Ledger("one", redis_url), Ledger("two", redis_url)
    one.processor()
    two.processor()
    await one.send(1)
    await two.send(2, 3)
    async with one.running(), two.running():
        await until(lambda: len(two.seen) == 2 and one.seen, "each has its own")
        assert (one.seen, two.seen) == ([1], [2, 3])
        everything = await inspect(redis, await check_server(redis, redis_url))
    assert [each["app"] for each in everything["processors"]] == ["one", "two"]
