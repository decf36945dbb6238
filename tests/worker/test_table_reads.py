"""Tables in running workers: what is read for a handler, and that totals are right."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import Events, Middleware, keys
from runnel.core.partition import PartitionState
from runnel.errors import Halted, NotInHandler
from runnel.table import Table
from runnel.worker.backend import RedisBackend
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until

NUMBERS = [*range(8)]


@pytest.fixture
def totals(ledger: Ledger) -> Table[int]:
    return ledger.app.table("totals", ledger.items, value=int, default=0)


async def stored(redis: Redis, ledger: Ledger, name: str = "totals") -> dict[str, str]:
    """What Redis has of a table."""
    found: Any = await redis.hgetall(keys.table(ledger.partition_keys.prefix, name))
    return {key.decode(): value.decode() for key, value in found.items()}


def once(*numbers: int) -> dict[str, str]:
    """The totals if each of these events counted once."""
    return {str(each): str(n) for each, n in Counter(numbers).items()}


async def run_to_end(redis: Redis, ledger: Ledger) -> None:
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")


async def test_the_key_of_each_event_is_read_with_it(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(totals[item.number])
            totals[item.number] += 1

    ledger.processor(work)
    await redis.hset(keys.table(ledger.partition_keys.prefix, "totals"), "2", "40")
    await ledger.send(1, 2, 1, 2)
    await run_to_end(redis, ledger)
    assert ledger.seen == [0, 40, 1, 41]
    assert await stored(redis, ledger) == {"1": "2", "2": "42"}
    assert await redis.hget(ledger.meta, "table:totals") == b"work"


async def test_other_keys_are_used_once_they_are_loaded(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    refused: list[str] = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            try:
                totals["all"] += 0
            except Exception as error:
                refused.append(str(error))
            await totals.load("all")
            totals["all"] += 1
            await totals.load_many(["a", "b", item.number])
            totals["a"], totals["b"] = totals["all"], totals["b"] + 2

    ledger.processor(work)
    await ledger.send(1, 2, 3)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == {"all": "3", "a": "3", "b": "6"}
    assert len(refused) == 1, "a key stays known"
    assert "'all' is not the key of the current event" in refused[0]
    assert "await totals.load('all')" in refused[0]


async def test_an_event_that_cannot_be_decoded_does_not_stop_the_others(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    ledger.processor(adds(totals), exception_policy="ignore", retries=0)
    await ledger.send(1)
    await redis.xadd(ledger.log, {b"nonsense": b"\xff"})
    await ledger.send(2)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(1, 2)


def adds(totals: Table[int], fails: Callable[[int], Any] | None = None) -> Any:
    """A handler that adds 1 to the total of each event, and then may fail."""

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            totals[item.number] += 1
            if fails and (error := fails(item.number)):
                raise error

    return work


async def test_more_keys_than_one_command_reads_and_one_commit_writes(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.worker.table_reads.FIELDS", 7)
    monkeypatch.setattr("runnel.core.table_state.MOST_FIELDS", 5)
    numbers = [each % 60 for each in range(300)]
    ledger.processor(adds(totals), prefetch=50)
    await ledger.send(*numbers)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*numbers)


async def test_keys_of_events_that_wait_are_not_forgotten(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.core.table_state.MOST_KNOWN", 4)
    numbers = [*range(100), *range(100)]
    ledger.processor(adds(totals), prefetch=100, retries=0, exception_policy="ignore")
    await ledger.send(*numbers)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*numbers)


async def test_a_read_that_fails_loses_nothing(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 3
    read_fields = RedisBackend.read_fields

    async def failing(backend: RedisBackend, wanted: Any) -> list[Any]:
        nonlocal failures
        if failures:
            failures -= 1
            if failures == 1:
                raise ConnectionError("on purpose")
            return [ConnectionError("on purpose")] * len(wanted)
        return await read_fields(backend, wanted)

    monkeypatch.setattr(RedisBackend, "read_fields", failing)
    ledger.processor(adds(totals))
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    assert not failures
    assert await stored(redis, ledger) == once(*NUMBERS)


async def test_plain_functions_in_threads_use_tables(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    threads: set[int] = set()

    @ledger.app.on(ledger.items, name="work")
    def work(item: Item) -> None:
        threads.add(threading.get_ident())
        totals[item.number] += 1

    await ledger.send(*NUMBERS, *NUMBERS)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*NUMBERS, *NUMBERS)
    assert threading.get_ident() not in threads


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


class Slow(Middleware):
    """Waits after each event."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            yield item
            await asyncio.sleep(0.05)


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
    ledger.processor(adds(totals))
    ledger.app.processor(ledger.items, name="other")(adds(totals))
    await ledger.send(1, 2)
    first, second = (
        Worker(ledger.app, processors=["work"]),
        Worker(ledger.app, processors=["other"]),
    )
    run = asyncio.create_task(first.run())

    async def written() -> bool:
        return await stored(redis, ledger) == once(1, 2)

    await until(written, "the first one writes it")
    first.stop.set()
    await run
    with pytest.raises(Halted, match=r"table=totals writer=work.*`processor=`"):
        async with asyncio.timeout(20):
            await second.run()
    assert await stored(redis, ledger) == once(1, 2)
    state = keys.state(ledger.partition_keys.prefix, "other")
    assert await redis.hmget(state, "checkpoint", "released") == [b"0-0", b"1"]


async def test_a_second_worker_continues_the_totals(
    redis: Redis, ledger: Ledger, totals: Table[int], states: list[PartitionState]
) -> None:
    ledger.processor(adds(totals))
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    await ledger.send(3, 4)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*NUMBERS, 3, 4)
    assert len(states) == 2
    tables = states[1].tables
    assert tables
    assert tables.get(("totals", b"3")) == b"2"
    with pytest.raises(KeyError):
        tables.get(("totals", b"5"))


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
