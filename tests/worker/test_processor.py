"""Each processor of a stream has its own checkpoints."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel import (
    Events,
)
from tests.worker.inside import Item, Ledger
from tests.worker.workers import until


async def test_processors_of_one_stream_do_not_disturb_each_other(
    redis: Redis, ledger: Ledger
) -> None:
    doubled: list[int] = []

    async def double(events: Events[Item]) -> None:
        async for item in events.records():
            doubled.append(2 * item.number)  # noqa: PERF401 - a handler, not a list

    ledger.processor()
    ledger.app.processor(ledger.items, name="double")(double)
    await ledger.send(1, 2)
    async with ledger.running():
        await until(lambda: len(ledger.seen) == 2 and len(doubled) == 2, "both process both")
    groups: Any = await redis.xinfo_groups(ledger.log)
    assert {group["name"] for group in groups} == {b"work", b"double"}
