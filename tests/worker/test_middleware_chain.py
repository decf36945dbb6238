"""Middleware may swallow or replace an error, raise one itself, or end: the policy decides about
the event that failed, and about no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Event, Events, Middleware
from tests.worker.dead_letters import dead_letters
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


class Swallows(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            with suppress(BaseException):
                yield item


class SwallowsAll(Middleware):
    """Has one ``try`` around its whole loop."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        try:
            async for item in parent:
                yield item
        except Exception:
            pass


class Offers(Middleware):
    """Yields the same item once more instead of an error, as a retry of its own."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            try:
                yield item
            except Exception:
                yield item


class Converts(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            try:
                yield item
            except Exception as error:
                raise LookupError("made of it") from error


class Finally(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            try:
                yield item
            finally:
                if bad(item):
                    raise LookupError("at the end")


class Breaks(Middleware):
    """Ends at an error."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            try:
                yield item
            except Exception:
                break


def bad(item: Any) -> bool:
    events: list[Event[Item]] = item if isinstance(item, list) else [item]
    return any(event.record.number == 2 for event in events)


class Watching(Middleware):
    """Notes what it saw of each item; it comes before or after another one."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            try:
                yield item
            except Exception as error:
                self.noted.append(type(error).__name__)
                raise
            self.noted.append("well")


KINDS = [Swallows, SwallowsAll, Offers, Converts, Finally, Breaks]


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("commit", ["auto", "each"])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_policy_decides_about_the_event_that_failed(
    redis: Redis, ledger: Ledger, kind: type[Middleware], commit: Any, size: int
) -> None:
    tried: Counter[int] = Counter()

    async def work(events: Events[Item]) -> None:
        batches = events.take(size).records() if size else _ones(events)
        async for items in batches:
            for item in items:
                tried[item.number] += 1
                if item.number == 2:
                    raise KeyError("two is bad")
            ledger.seen += [item.number for item in items]

    watching = Watching()
    ledger.processor(
        work,
        exception_policy="ignore",
        retries=1,
        middleware=[watching, kind(), DeadLetterMiddleware()],
        commit=commit,
    )
    await ledger.send(*range(6))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    ((number, letter),) = await dead_letters(redis, ledger)
    assert (number, letter.error_type, letter.attempts) == (2, "KeyError", 2)
    assert "two is bad" in letter.error_message
    assert ("made LookupError" in letter.error_message) == (kind in (Converts, Finally))
    assert ledger.seen == [0, 1, 3, 4, 5]
    if not size:
        assert tried == {0: 1, 1: 1, 2: 2, 3: 1, 4: 1, 5: 1}
    assert watching.noted.count("KeyError") == tried[2], "only the inner middleware got the error"


async def _ones(events: Events[Item]) -> AsyncIterator[list[Item]]:
    async for item in events.records():
        yield [item]


class FailsBefore(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            await asyncio.sleep(0)
            if bad(item):
                raise LookupError("before")
            yield item


class FailsAfter(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            yield item
            await asyncio.sleep(0)
            if bad(item):
                raise LookupError("after")


class CancelsItself(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            if bad(item):
                future = asyncio.get_running_loop().create_future()
                future.cancel()
                await future
            yield item


class Ends(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            if bad(item):
                return
            yield item


OWN = {
    FailsBefore: ("LookupError", "before"),
    FailsAfter: ("LookupError", "after"),
    CancelsItself: ("CancelledError", ""),
    Ends: ("HandlerReturned", "a middleware ended before its events"),
}


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("kind", OWN)
async def test_a_middleware_that_fails_by_itself_fails_the_current_event(
    redis: Redis, ledger: Ledger, kind: type[Middleware], swallowed: bool
) -> None:
    """Even if the handler swallows what the middleware raises."""

    async def work(events: Events[Item]) -> None:
        iterator = events.records()
        while True:
            try:
                item = await anext(iterator)
            except StopAsyncIteration:
                return
            except BaseException:
                if not swallowed:
                    raise
            else:
                ledger.seen.append(item.number)

    ledger.processor(
        work,
        exception_policy="ignore",
        retries=1,
        middleware=[kind(), DeadLetterMiddleware()],
    )
    await ledger.send(*range(5))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    ((number, letter),) = await dead_letters(redis, ledger)
    error_type, message = OWN[kind]
    assert (number, letter.error_type, letter.attempts) == (2, error_type, 2)
    assert message in letter.error_message
    given_two = [2, 2] if kind is FailsAfter else []
    assert ledger.seen == [0, 1, *given_two, 3, 4]


async def test_a_time_limit_of_a_middleware_is_what_the_event_failed_with(
    redis: Redis, ledger: Ledger
) -> None:
    class Limit(Middleware):
        async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for item in parent:
                async with asyncio.timeout(0.05):
                    yield item

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 1:
                await asyncio.Event().wait()
            ledger.seen.append(item.number)

    ledger.processor(
        work, exception_policy="ignore", retries=0, middleware=[Limit(), DeadLetterMiddleware()]
    )
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    ((number, letter),) = await dead_letters(redis, ledger)
    assert (number, letter.error_type) == (1, "TimeoutError")
    assert ledger.seen == [0, 2]


async def test_a_middleware_that_is_left_early_is_ended_before_it_starts_again(
    redis: Redis, ledger: Ledger
) -> None:
    noted: list[str] = []

    class Opens(Middleware):
        async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
            noted.append("open")
            try:
                async for item in parent:
                    yield item
            finally:
                await asyncio.sleep(0.01)
                noted.append("close")

    async def work(events: Events[Item]) -> None:
        noted.append("handler")
        async for item in events.records():
            ledger.seen.append(item.number)
            if len(ledger.seen) == 1:
                return

    ledger.processor(work, middleware=[Opens()])
    await ledger.send(1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == [1, 1, 2]
    assert noted == ["handler", "open", "close"] * 2
