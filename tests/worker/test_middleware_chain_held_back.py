"""Middleware that drops events, or holds one back until it has another: a failed event never counts
as dropped, and no other event is blamed for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Event, Events, Middleware
from tests.worker.dead_letters import dead_letters
from tests.worker.holding_back import OneBehind, Pairs
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until

NUMBERS = [*range(8)]


class Drops(Middleware):
    """Drops every fourth event."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            if item.record.number % 4 != 2:
                yield item


class Merges(Middleware):
    """Yields lists of its own, of two events each."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        kept: list[Any] = []
        async for item in parent:
            kept.append(item)
            if len(kept) == 2:
                yield kept
                kept = []


@pytest.mark.parametrize("commit", ["auto", "each"])
@pytest.mark.parametrize(
    ("kind", "bad"), [(Pairs, 2), (Pairs, 3), (OneBehind, 2), (OneBehind, 3), (Drops, 3)]
)
async def test_the_event_that_failed_is_dead_lettered_and_no_other(
    redis: Redis, ledger: Ledger, kind: type[Middleware], bad: int, commit: Any
) -> None:
    tried: Counter[int] = Counter()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            tried[item.number] += 1
            if item.number == bad:
                raise KeyError("bad")
            ledger.seen.append(item.number)

    ledger.processor(
        work,
        exception_policy="ignore",
        retries=2,
        middleware=[kind(), DeadLetterMiddleware()],
        commit=commit,
    )
    await ledger.send(*NUMBERS)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    ((number, letter),) = await dead_letters(redis, ledger)
    assert (number, letter.error_type, letter.attempts) == (bad, "KeyError", 3)
    assert tried[bad] == 3
    # No event may follow the last one.
    left_out = {bad, NUMBERS[-1], *([2, 6] if kind is Drops else [])}
    seen = [each for each in dict.fromkeys(ledger.seen) if each != NUMBERS[-1]]
    assert seen == [each for each in NUMBERS if each not in left_out]


@pytest.mark.parametrize("commit", ["auto", "each"])
async def test_a_list_that_middleware_made_and_that_fails_loses_nothing(
    redis: Redis, ledger: Ledger, commit: Any
) -> None:
    """It is unknown which of its events fails."""

    async def work(events: Events[Item]) -> None:
        async for made in events:
            items: list[Event[Item]] = made  # type: ignore[assignment]
            numbers = [each.record.number for each in items]
            if 3 in numbers:
                raise KeyError("three is bad")
            ledger.seen += numbers

    ledger.processor(
        work,
        exception_policy="ignore",
        retries=1,
        middleware=[Merges(), DeadLetterMiddleware()],
        commit=commit,
    )
    await ledger.send(*NUMBERS)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    dead = [number for number, _ in await dead_letters(redis, ledger)]
    assert 3 in dead
    assert sorted({*ledger.seen, *dead, 7}) == NUMBERS, "but for the last, which has no other"


class Evens(Middleware):
    """Drops odd numbers."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            if item.record.number % 2 == 0:
                yield item


class Ahead(Middleware):
    """Takes one event more than it has yielded."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        held = None
        async for item in parent:
            if held is not None:
                yield held
            held = item
        if held is not None:
            yield held


async def test_what_a_middleware_drops_is_finished_even_if_nothing_follows(
    redis: Redis, ledger: Ledger
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(item.number)

    ledger.processor(work, middleware=[Evens()])
    await ledger.send(1, 2, 3, 5, 7)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "what was dropped is committed")
    assert ledger.seen == [2]


async def test_an_event_that_a_middleware_took_ahead_is_not_finished_with_the_one_before(
    redis: Redis, ledger: Ledger
) -> None:
    stop = asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(item.number)
            if item.number == 2:
                await stop.wait()
                raise ValueError("two is bad")

    ledger.processor(work, middleware=[Ahead()], exception_policy="quarantine", retries=0)
    await ledger.send(1, 2, 3, 4)
    async with ledger.running():
        await until(lambda: ledger.seen == [1, 2], "event two is current")
        await until(lambda: _processed(redis, ledger, b"1"), "one is committed, and no more")
        stop.set()

        async def quarantined() -> bool:
            return bool((await ledger.row(redis)).get("state") == "quarantined")

        await until(quarantined, "the policy decides")
        row = await ledger.row(redis)
    assert (row["processed"], row["lag_events"]) == (1, 3)


async def _processed(redis: Redis, ledger: Ledger, number: bytes) -> bool:
    return bool(await redis.hget(ledger.state, "processed") == number)
