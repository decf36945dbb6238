"""Events go to one iterator at a time, and to none once the handler has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events, Middleware
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


class Plain(Middleware):
    pass


async def nested(events: Events[Item], seen: list[int]) -> None:
    async for event in events:
        seen.append(event.record.number)
        async for record in events.records():
            seen.append(record.number)  # noqa: PERF401 - a handler, not a list


async def side_by_side(events: Events[Item], seen: list[int]) -> None:
    async def consume() -> None:
        async for record in events.records():
            seen.append(record.number)
            await asyncio.sleep(0)

    await asyncio.gather(consume(), consume())


async def of_two_kinds(events: Events[Item], seen: list[int]) -> None:
    singles, lists = aiter(events), aiter(events.take(2))
    seen.append((await anext(singles)).record.number)
    await anext(lists)


async def one_in_two_tasks(events: Events[Item], seen: list[int]) -> None:
    singles = aiter(events)
    await asyncio.gather(*(anext(singles) for _ in range(50)))


@pytest.mark.parametrize("middleware", [[], [Plain()]])
@pytest.mark.parametrize("bad", [nested, side_by_side, of_two_kinds, one_in_two_tasks])
async def test_a_second_iterator_is_refused_with_an_explanation(
    redis: Redis,
    ledger: Ledger,
    bad: Callable[[Events[Item], list[int]], Awaitable[None]],
    middleware: list[Middleware],
) -> None:
    async def work(events: Events[Item]) -> None:
        await bad(events, ledger.seen)

    ledger.processor(
        work, exception_policy="quarantine", retries=0, middleware=middleware, commit="each"
    )
    async with ledger.running():
        await ledger.send(1, 2, 3)

        async def quarantined() -> bool:
            return bool((await ledger.row(redis)).get("state") == "quarantined")

        await until(quarantined, "the policy decides")
        row = await ledger.row(redis)
    assert row["error"]["type"] == "IterationError"
    assert "in one place at a time" in row["error"]["message"]
    assert len(ledger.seen) <= row["processed"] + 1


@pytest.mark.parametrize("middleware", [[], [Plain()]])
async def test_a_task_that_a_handler_leaves_behind_gets_no_events(
    redis: Redis, ledger: Ledger, middleware: list[Middleware]
) -> None:
    left: list[int] = []
    readers: list[asyncio.Task[None]] = []
    again = asyncio.Event()

    async def read(events: Events[Item]) -> None:
        async for item in events.records():
            left.append(item.number)  # noqa: PERF401 - a handler, not a list

    async def work(events: Events[Item]) -> None:
        if not readers:
            readers.append(asyncio.create_task(read(events)))
            await until(lambda: caught_up(redis, ledger), "it waits for the next one")
            return
        again.set()
        async for item in events.records():
            ledger.seen.append(item.number)

    ledger.processor(work, middleware=middleware)
    await ledger.send(1)
    async with ledger.running():
        await again.wait()
        for number in (2, 3, 4):
            await ledger.send(number)
            await until(lambda: caught_up(redis, ledger), "it is done")
        assert readers[0].done()
    assert (left, ledger.seen) == ([1], [2, 3, 4])


class SlowAtItsEnd(Middleware):
    """Awaits when it is ended."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for item in parent:
                yield item
        finally:
            await asyncio.sleep(0.01)


async def test_one_of_two_iterators_is_refused_that_follow_one_whose_middleware_ends_slowly(
    redis: Redis, ledger: Ledger
) -> None:
    outcomes: list[Any] = []

    async def work(events: Events[Item]) -> None:
        await anext(aiter(events))
        await events.commit()
        others = (anext(aiter(events)) for _ in range(2))
        outcomes[:] = await asyncio.gather(*others, return_exceptions=True)
        await asyncio.Event().wait()

    ledger.processor(work, middleware=[SlowAtItsEnd()])
    await ledger.send(1, 2, 3)
    async with ledger.running():
        await until(lambda: outcomes, "both have asked")
    assert sorted(type(each).__name__ for each in outcomes) == ["Event", "IterationError"]


@pytest.mark.parametrize("middleware", [[], [Plain()]])
async def test_one_iterator_after_the_other_may_be_used_once_nothing_is_unfinished(
    redis: Redis, ledger: Ledger, middleware: list[Middleware]
) -> None:
    async def work(events: Events[Item]) -> None:
        async for record in events.records():
            ledger.seen.append(record.number)
            await events.commit()
            if record.number == 2:
                break
        async for batch in events.take(2):
            ledger.seen += [event.record.number for event in batch]

    ledger.processor(work, middleware=middleware)
    await ledger.send(*range(12))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is done")
    assert ledger.seen == [*range(12)]


async def test_a_handler_that_asks_for_ever_does_not_keep_its_worker_from_ending(
    redis: Redis, ledger: Ledger
) -> None:
    async def work(events: Events[Item]) -> None:
        while True:
            async for record in events.records():
                ledger.seen.append(record.number)

    ledger.processor(work)
    await ledger.send(1)
    async with asyncio.timeout(20):
        async with ledger.running():
            await until(lambda: ledger.seen == [1], "it runs")
    assert await redis.hget(ledger.state, "released") == b"1"
