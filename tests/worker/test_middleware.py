"""Code of a middleware runs before and after each event, or each list of events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis

from runnel import (
    Event,
    Events,
    Middleware,
)
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


async def test_middleware_wraps_whole_batches_and_may_change_them(
    redis: Redis, ledger: Ledger
) -> None:
    noted: list[str] = []

    class Evens(Middleware):
        async def handler(
            self, parent: AsyncIterator[list[Event[Item]]]
        ) -> AsyncIterator[list[Event[Item]]]:
            async for batch in parent:
                noted.append(f"before {len(batch)}")
                yield [event for event in batch if event.record.number % 2 == 0]
                noted.append("after")

    async def work(events: Events[Item]) -> None:
        async for items in events.take(4, within=5).records():
            ledger.seen.extend(item.number for item in items)

    ledger.processor(work, middleware=[Evens()])
    await ledger.send(*range(8))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert ledger.seen == [0, 2, 4, 6]
    assert noted == ["before 4", "after", "before 4", "after"]


async def test_middleware_sees_each_event_before_and_after_and_its_failure(
    redis: Redis, ledger: Ledger
) -> None:
    seen: list[str] = []

    class Watch(Middleware):
        async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for event in parent:
                number = event.record.number
                seen.append(f"before {number}")
                try:
                    yield event
                except ValueError:
                    seen.append(f"failed {number}")
                    raise
                seen.append(f"after {number}")

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            seen.append(f"during {item.number}")
            if item.number == 2:
                raise ValueError("two")

    ledger.processor(work, middleware=[Watch()], retries=0, exception_policy="ignore")
    await ledger.send(1, 2, 3)
    await Worker(ledger.app).run(burst=True)
    assert seen == [
        *("before 1", "during 1", "after 1"),
        *("before 2", "during 2", "failed 2"),
        *("before 3", "during 3", "after 3"),
    ]
