"""Tables in running workers: what failed leaves no trace, and what was finished counts once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events, keys
from runnel.errors import Halted, NotInHandler
from runnel.table import Table
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger
from tests.worker.totals import adds, once, run_to_end, stored
from tests.worker.workers import until

NUMBERS = [*range(8)]


@pytest.mark.parametrize("bad", [0, 5])
async def test_a_list_of_events_is_one_unit(
    redis: Redis, ledger: Ledger, totals: Table[int], bad: int
) -> None:
    """It is undone as a whole, and then each of its events is tried alone."""
    tries = 0

    async def work(events: Events[Item]) -> None:
        nonlocal tries
        async for items in events.take(4, within=0.2).records():
            for item in items:
                totals[item.number] += 1
                if item.number == bad:
                    tries += 1
                    raise ValueError("bad")

    ledger.processor(work, retries=1, exception_policy="ignore")
    await ledger.send(*NUMBERS, *NUMBERS[:bad])
    await run_to_end(redis, ledger)
    assert tries > 1
    expected = Counter([*NUMBERS, *NUMBERS[:bad]])
    del expected[bad]
    assert await stored(redis, ledger) == {str(k): str(n) for k, n in expected.items()}


async def test_a_batch_that_writes_more_than_a_commit_holds_is_split_at_once(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another try would write as much again."""
    monkeypatch.setattr("runnel.core.table_state.MOST_FIELDS", 3)
    tries: list[int] = []

    async def work(events: Events[Item]) -> None:
        async for items in events.take(4, within=0.2).records():
            tries.append(len(items))
            for item in items:
                totals[item.number] += 1

    ledger.processor(work, retries=5, backoff=60.0)
    await ledger.send(0, 1, 2, 3)
    await run_to_end(redis, ledger)
    assert tries == [4, 1, 1, 1, 1]
    assert await stored(redis, ledger) == once(0, 1, 2, 3)


async def test_an_event_that_writes_more_than_a_commit_holds_is_given_up_at_once(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.core.table_state.MOST_FIELDS", 3)
    tries: list[int] = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            tries.append(item.number)
            keys = [f"{item.number}.{n}" for n in range(5 if item.number == 1 else 2)]
            await totals.load_many(keys)
            for key in keys:
                totals[key] = 1

    ledger.processor(work, retries=5, backoff=60.0, exception_policy="ignore")
    await ledger.send(0, 1, 2)
    await run_to_end(redis, ledger)
    assert tries == [0, 1, 2]
    assert await stored(redis, ledger) == dict.fromkeys(["0.0", "0.1", "2.0", "2.1"], "1")


@pytest.mark.parametrize("commit", ["auto", "each"])
async def test_a_try_that_failed_is_undone(
    redis: Redis, ledger: Ledger, totals: Table[int], commit: Any
) -> None:
    tries: Counter[int] = Counter()

    def fails(number: int) -> Any:
        tries[number] += 1
        return ValueError("a blip") if number % 3 == 1 and tries[number] < 3 else None

    ledger.processor(adds(totals, fails), retries=3, commit=commit)
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    assert tries[1] == 3
    assert await stored(redis, ledger) == once(*NUMBERS)


@pytest.mark.parametrize("commit", ["auto", "each"])
async def test_an_event_that_is_given_up_leaves_no_trace(
    redis: Redis, ledger: Ledger, totals: Table[int], commit: Any
) -> None:
    ledger.processor(
        adds(totals, lambda number: ValueError("bad") if number == 2 else None),
        retries=1,
        exception_policy="ignore",
        commit=commit,
    )
    await ledger.send(2, 1, 2, 3, 2)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(1, 3)


async def test_an_event_that_takes_too_long_is_undone(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    slow = True

    async def work(events: Events[Item]) -> None:
        nonlocal slow
        async for item in events.records():
            totals[item.number] += 1
            if slow and item.number == 2:
                slow = False
                await asyncio.Event().wait()

    ledger.processor(work, timeout=0.1, retries=1)
    await ledger.send(1, 2, 3)
    await run_to_end(redis, ledger)
    assert not slow
    assert await stored(redis, ledger) == once(1, 2, 3)


async def test_a_task_that_a_failed_handler_left_behind_writes_nothing(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    go = asyncio.Event()
    left: list[asyncio.Task[None]] = []
    refused: list[BaseException] = []

    async def late() -> None:
        await go.wait()
        try:
            totals[1] += 100
        except NotInHandler as error:
            refused.append(error)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            totals[item.number] += 1
            if not left:
                left.append(asyncio.create_task(late()))
                raise ValueError("a blip")
            go.set()
            await left[0]

    ledger.processor(work, retries=1)
    await ledger.send(1)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(1)
    assert "was given up" in str(refused[0])


async def test_nothing_is_written_while_there_is_no_event(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    refused: list[str] = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            totals[item.number] += 1
            await events.commit()
            for pop in (True, False):
                try:
                    if pop:
                        totals.pop(1, 0)
                    totals[1] = 7
                except NotInHandler as error:
                    refused.append(str(error))

    ledger.processor(work)
    await ledger.send(1)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(1)
    assert len(refused) == 2
    assert all("before `await events.commit()`" in each for each in refused)


async def test_a_value_that_is_changed_in_place_is_written(redis: Redis, ledger: Ledger) -> None:
    seen = ledger.app.table("seen", ledger.items, value=list[int], default=[])
    blip = True

    async def work(events: Events[Item]) -> None:
        nonlocal blip
        async for item in events.records():
            seen[item.number].append(len(seen[item.number]))
            if blip and item.number == 2:
                blip = False
                raise ValueError("a blip")

    ledger.processor(work, retries=1)
    await ledger.send(1, 2, 1, 2, 1)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger, "seen") == {"1": "[0,1,2]", "2": "[0,1]"}


async def test_a_change_in_place_that_cannot_be_stored_fails_its_event(
    redis: Redis, ledger: Ledger
) -> None:
    seen = ledger.app.table("seen", ledger.items, value=list[int], default=[])

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            seen[item.number].append("x" if item.number == 2 else 1)  # type: ignore[arg-type]

    ledger.processor(work, retries=0, exception_policy="ignore")
    await ledger.send(1, 2, 3)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger, "seen") == {"1": "[1]", "3": "[1]"}


async def test_the_second_processor_that_writes_a_table_ends_with_a_reason(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    """Both were started before one of them has written it."""
    has_event, go_on = asyncio.Event(), asyncio.Event()

    async def later(events: Events[Item]) -> None:
        async for item in events.records():
            has_event.set()
            await go_on.wait()
            totals[item.number] += 1

    ledger.processor(adds(totals))
    ledger.app.processor(ledger.items, name="other")(later)
    await ledger.send(1, 2)
    first, second = (
        Worker(ledger.app, processors=["work"]),
        Worker(ledger.app, processors=["other"]),
    )
    late = asyncio.create_task(second.run())
    await has_event.wait()
    run = asyncio.create_task(first.run())

    async def written() -> bool:
        return await stored(redis, ledger) == once(1, 2)

    await until(written, "the first one writes it")
    first.stop.set()
    await run
    go_on.set()
    with pytest.raises(Halted, match=r"the table totals is written by the processor work"):
        async with asyncio.timeout(20):
            await late
    assert await stored(redis, ledger) == once(1, 2)
    state = keys.state(ledger.partition_keys.prefix, "other")
    assert await redis.hmget(state, "checkpoint", "released") == [b"0-0", b"1"]
