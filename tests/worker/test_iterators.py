"""In every way of iterating, a wait that was cancelled can be repeated, lists may be empty, and a
record that cannot be decoded fails its event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Event, Events, Middleware
from runnel.errors import DecodeError
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


@pytest.mark.parametrize("middleware", [[], [Plain()]])
@pytest.mark.parametrize("way", ["records", "take records"])
async def test_a_record_that_cannot_be_decoded_fails_its_event_though_the_handler_goes_on(
    redis: Redis, ledger: Ledger, way: str, middleware: list[Middleware]
) -> None:
    async def work(events: Events[Item]) -> None:
        iterator = WAYS[way](events)
        while True:
            try:
                ledger.seen += numbers(await anext(iterator))
            except DecodeError:
                continue
            except StopAsyncIteration:
                return

    ledger.processor(work, exception_policy="quarantine", retries=0, middleware=middleware)
    async with ledger.running():
        await ledger.send(1)
        await until(lambda: caught_up(redis, ledger), "the first is done")
        await redis.xadd(ledger.log, {"msgpack": b"\xc1corrupt"})

        async def quarantined() -> bool:
            return bool((await ledger.row(redis)).get("state") == "quarantined")

        await until(quarantined, "the policy decides")
        row = await ledger.row(redis)
    assert (row["error"]["type"], row["processed"], ledger.seen) == ("DecodeError", 1, [1])


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
