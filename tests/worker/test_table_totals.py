"""Totals in tables are right with middleware that holds events back, and whatever fails."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events, Middleware
from runnel.table import Table
from tests.worker.holding_back import OneBehind, Pairs
from tests.worker.inside import Item, Ledger
from tests.worker.totals import adds, once, run_to_end, stored

NUMBERS = [*range(8)]


class Slow(Middleware):
    """Waits after each event."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            yield item
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", [Pairs, OneBehind])
@pytest.mark.parametrize("bad", [2, 3])
@pytest.mark.parametrize("commit", ["auto", "each"])
@pytest.mark.parametrize("lasting", [False, True])
async def test_middleware_that_holds_events_back(
    redis: Redis,
    ledger: Ledger,
    totals: Table[int],
    kind: type[Middleware],
    bad: int,
    commit: Any,
    lasting: bool,
) -> None:
    tries: Counter[int] = Counter()

    def fails(number: int) -> Any:
        tries[number] += 1
        return ValueError("bad") if number == bad and (lasting or tries[bad] < 3) else None

    ledger.processor(
        adds(totals, fails),
        retries=2,
        exception_policy="ignore",
        middleware=[kind()],
        commit=commit,
    )
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    assert tries[bad] == 3
    found = await stored(redis, ledger)
    found.pop("7", None)  # No event may follow the last one.
    assert found == once(*(each for each in NUMBERS[:-1] if not (lasting and each == bad)))


async def test_a_wait_for_the_next_event_that_is_cancelled_undoes_nothing(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    cancelled = 0

    async def work(events: Events[Item]) -> None:
        nonlocal cancelled
        records = aiter(events.records())
        while True:
            try:
                async with asyncio.timeout(0.01 if cancelled < 3 else None):
                    item = await anext(records)
            except TimeoutError:
                cancelled += 1
            except StopAsyncIteration:
                return
            else:
                totals[item.number] += 1

    ledger.processor(work, middleware=[Slow()])
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    assert cancelled
    assert await stored(redis, ledger) == once(*NUMBERS)


class Blips:
    """Raises at random, a few times for each number."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.raised: Counter[int] = Counter()

    def __call__(self, event: int) -> None:
        if self.raised[event] < 3 and self.random.random() < 1 / 4:
            self.raised[event] += 1
            raise ValueError("a blip")


@pytest.mark.parametrize("commit", ["auto", "each"])
@pytest.mark.parametrize("shape", ["one", "list", "pairs", "behind", "commits", "thread"])
async def test_totals_are_right_whatever_fails(
    redis: Redis,
    ledger: Ledger,
    totals: Table[int],
    monkeypatch: pytest.MonkeyPatch,
    shape: str,
    commit: Any,
) -> None:
    """Failures before, between and after the writes of an event, small limits, much to forget."""
    monkeypatch.setattr("runnel.core.table_state.MOST_FIELDS", 12)
    monkeypatch.setattr("runnel.core.table_state.MOST_KNOWN", 12)
    seen = ledger.app.table("seen", ledger.items, value=list[int], default=[])
    blips = Blips(len(shape))
    numbers = [blips.random.randrange(20) for _ in range(120)]

    def add(number: int) -> None:
        blips(number)
        totals[number] += 1
        seen[number].append(totals[number])
        blips(number)
        if number % 5 == 4 and len(seen[number]) > 2:
            del seen[number]

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            add(item.number)
            await totals.load("all")
            totals["all"] += 1
            blips(item.number)
            if shape == "commits" and item.number % 3 == 0:
                await events.commit()

    async def lists(events: Events[Item]) -> None:
        async for items in events.take(3, within=0.01).records():
            await totals.load("all")
            for item in items:
                add(item.number)
                totals["all"] += 1

    def in_thread(item: Item) -> None:
        add(item.number)

    options: dict[str, Any] = {"retries": 20, "commit": commit, "prefetch": 10}
    options |= {"backoff": 0.001, "backoff_max": 0.001}
    if shape == "thread":
        ledger.app.on(ledger.items, name="work", **options)(in_thread)
    else:
        middleware = {"pairs": [Pairs()], "behind": [OneBehind()]}.get(shape, [])
        ledger.processor(lists if shape == "list" else work, middleware=middleware, **options)
    await ledger.send(*numbers)
    await run_to_end(redis, ledger)
    done = numbers[:-1] if shape == "behind" else numbers
    expected = once(*done)
    found = await stored(redis, ledger)
    if shape != "thread":
        assert found.pop("all") == str(len(done))
    assert found == expected
    lists_expected: dict[str, list[int]] = {}
    for number, total in ((each, done[: at + 1].count(each)) for at, each in enumerate(done)):
        lists_expected.setdefault(str(number), []).append(total)
        if number % 5 == 4 and len(lists_expected[str(number)]) > 2:
            del lists_expected[str(number)]
    assert {k: json.loads(v) for k, v in (await stored(redis, ledger, "seen")).items()} == (
        lists_expected
    )
