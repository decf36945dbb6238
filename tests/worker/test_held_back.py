"""Middleware that drops events, or holds one back until it has another: a failed event never counts
as dropped, and no other event is blamed for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Event, Events, Middleware
from tests.worker.dead_letters import dead_letters
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until

NUMBERS = [*range(8)]


class Pairs(Middleware):
    """Yields two events, one after the other, once it has them."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        kept: list[Any] = []
        async for item in parent:
            kept.append(item)
            if len(kept) == 2:
                for each in kept:
                    yield each
                kept = []


class OneBehind(Middleware):
    """Yields an event once it has the next."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        kept: list[Any] = []
        async for item in parent:
            kept.append(item)
            if len(kept) == 2:
                yield kept.pop(0)


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
