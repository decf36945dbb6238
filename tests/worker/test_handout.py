"""An event is finished only if the handler got it and asked for the next one. A wait may be
cancelled, middleware may come between, and a second iterator is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Event, Events, Middleware
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until

NUMBERS = list(range(12))


class Plain(Middleware):
    pass


class Slow(Middleware):
    """Awaits before its yield, for longer than the handler waits at first."""

    def __init__(self) -> None:
        self.delays = [0.0, 0.05, 0.1, 0.0, 0.05, 0.0]
        self.calls = 0

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            self.calls += 1
            await asyncio.sleep(self.delays[self.calls % len(self.delays)])
            yield item


class SlowAfter(Middleware):
    """Awaits after its yield: the handler waits for the next one during that time."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            yield item
            await asyncio.sleep(0.02)


Wait = Callable[[AsyncIterator[Any]], Awaitable[Any]]


async def by_timeout(events: AsyncIterator[Any]) -> Any:
    async with asyncio.timeout(0.03):
        return await anext(events)


async def by_wait_for(events: AsyncIterator[Any]) -> Any:
    return await asyncio.wait_for(anext(events), 0.03)


async def by_a_task(events: AsyncIterator[Any]) -> Any:
    task = asyncio.ensure_future(anext(events))
    done, _ = await asyncio.wait({task}, timeout=0.03)
    if not done:
        task.cancel()
        await asyncio.wait({task})
        if task.cancelled():
            raise TimeoutError
    try:
        return task.result()
    except asyncio.CancelledError:
        raise TimeoutError from None


WAYS: dict[str, Callable[[Events[Item]], AsyncIterator[Any]]] = {
    "events": aiter,
    "records": lambda events: events.records(),
    "take": lambda events: aiter(events.take(3)),
    "take within": lambda events: aiter(events.take(3, within=0.02)),
    "take records": lambda events: events.take(3).records(),
}


def numbers(given: Any) -> list[int]:
    """The numbers of the items that an iterator has returned."""
    if isinstance(given, list):
        return [each for one in given for each in numbers(one)]
    return [given.record.number if isinstance(given, Event) else given.number]


@pytest.mark.parametrize("commit", ["auto", "each", "explicit"])
@pytest.mark.parametrize("middleware", [None, Plain, Slow, SlowAfter])
@pytest.mark.parametrize("wait", [by_timeout, by_wait_for, by_a_task])
async def test_a_wait_that_is_cancelled_skips_nothing(
    redis: Redis, ledger: Ledger, wait: Wait, middleware: type[Middleware] | None, commit: str
) -> None:
    """In every way of iterating at once, a processor for each."""
    seen: dict[str, list[int]] = {name: [] for name in WAYS}

    def declare(name: str) -> None:
        async def work(events: Events[Item]) -> None:
            iterator = WAYS[name](events)
            while True:
                try:
                    seen[name] += numbers(await wait(iterator))
                except TimeoutError:
                    continue
                except StopAsyncIteration:
                    return
                if commit == "explicit":
                    await events.commit()

        ledger.app.processor(
            ledger.items,
            name=name.replace(" ", "-"),
            commit="each" if commit == "each" else "auto",
            middleware=[middleware()] if middleware else [],
        )(work)

    for name in WAYS:
        declare(name)
    await ledger.send(*NUMBERS[:6])
    async with ledger.running():
        await until(lambda: all(len(each) == 6 for each in seen.values()), f"half: {seen}")
        await asyncio.sleep(0.1)  # Waits are cancelled while no event comes.
        await ledger.send(*NUMBERS[6:])
        await until(lambda: all(len(each) >= 12 for each in seen.values()), f"all: {seen}")
    assert seen == dict.fromkeys(WAYS, NUMBERS)


async def test_after_a_cancelled_wait_what_a_middleware_had_taken_is_handed_out_again(
    redis: Redis, ledger: Ledger
) -> None:
    """The handler gives up; the event is still there for the next worker."""
    patient, taken = asyncio.Event(), asyncio.Event()

    class Stuck(Middleware):
        async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for item in parent:
                taken.set()
                await patient.wait()
                yield item

    async def work(events: Events[Item]) -> None:
        iterator = aiter(events)
        while not patient.is_set():
            try:
                async with asyncio.timeout(0.02):
                    ledger.seen.append((await anext(iterator)).record.number)
            except TimeoutError:
                await events.commit()
        async for event in iterator:
            ledger.seen.append(event.record.number)

    ledger.processor(work, middleware=[Stuck()])
    await ledger.send(1, 2)
    async with ledger.running():
        await taken.wait()
        await asyncio.sleep(0.1)
        assert await redis.hget(ledger.state, "processed") in (None, b"0")
        patient.set()
        await until(lambda: caught_up(redis, ledger), "all is done")
    assert ledger.seen == [1, 2]


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
            ledger.seen += numbers(batch)

    ledger.processor(work, middleware=middleware)
    await ledger.send(*NUMBERS)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is done")
    assert ledger.seen == NUMBERS


@pytest.mark.parametrize("middleware", [[], [Plain()]])
@pytest.mark.parametrize("records", [True, False])
async def test_a_window_can_be_closed_while_nothing_arrives(
    redis: Redis, ledger: Ledger, records: bool, middleware: list[Middleware]
) -> None:
    lists: list[list[int]] = []

    async def work(events: Events[Item]) -> None:
        batches = events.take(10, within=0.05, empty=True)
        async for batch in batches.records() if records else batches:
            lists.append(numbers(batch))
            if not batch:
                await events.commit()

    ledger.processor(work, middleware=middleware)
    async with ledger.running():
        await until(lambda: lists[:2] == [[], []], "empty ones come")
        await ledger.send(1, 2)
        await until(lambda: [1, 2] in lists and lists[-1] == [], "full ones come between")
        await until(lambda: caught_up(redis, ledger), "it is committed")


async def test_a_failure_with_an_empty_list_blames_no_event(redis: Redis, ledger: Ledger) -> None:
    failures = 2

    async def work(events: Events[Item]) -> None:
        nonlocal failures
        async for batch in events.take(10, within=0.05, empty=True).records():
            ledger.seen += [item.number for item in batch]
            if ledger.seen and not batch and failures:
                failures -= 1
                raise ValueError("while flushing")

    ledger.processor(work, exception_policy="quarantine", retries=5)
    await ledger.send(1, 2)
    async with ledger.running():
        await until(lambda: not failures, "it has failed")
        await ledger.send(3)
        await until(lambda: ledger.seen == [1, 2, 3], "it continues")
        assert (await ledger.row(redis))["processed"] >= 2


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
