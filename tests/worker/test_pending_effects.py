"""What a handler emits is sent with the commit of its event: with it, or not at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, ConfigError, Events, Record, keys
from runnel.core import pending_effects
from runnel.errors import Halted, NotInHandler, RecordTooLarge, TooManyWrites
from runnel.middleware import DeadLetterMiddleware
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from runnel.protocol import StreamContract, declare
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.worker.holding_back import OneBehind, Pairs
from tests.worker.inside import Item, caught_up, owned
from tests.worker.pipeline import Doubled, Pipeline, doubled
from tests.worker.workers import until

NUMBERS = [*range(12)]


@pytest.fixture
def pipeline(redis: Redis, redis_url: str, app_name: str) -> Pipeline:
    return Pipeline(app_name, redis_url)


async def run_to_end(redis: Redis, pipeline: Pipeline) -> None:
    async with pipeline.running():
        await until(lambda: caught_up(redis, pipeline), "all is committed")


async def check_sent(redis: Redis, pipeline: Pipeline, numbers: list[int]) -> None:
    """Both streams have one record for each of these; the derived one in their order."""
    assert Counter(await pipeline.numbers(redis, pipeline.doubled)) == Counter(numbers)
    assert await pipeline.numbers(redis, pipeline.copies) == numbers


@pytest.mark.parametrize("commit", ["auto", "each"])
@pytest.mark.parametrize("middleware", [[], [OneBehind()], [Pairs()]])
async def test_each_event_emits_once_though_tries_fail(
    redis: Redis, pipeline: Pipeline, commit: Any, middleware: Any
) -> None:
    tries = Counter[int]()

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            events.emit(pipeline.doubled, doubled(item.number))
            pipeline.copies.emit(doubled(item.number))
            tries[item.number] += 1
            if item.number % 3 == 1 and tries[item.number] < 3:
                raise ValueError("a blip")

    pipeline.processor(work, retries=3, commit=commit, middleware=middleware)
    await pipeline.send(*NUMBERS)
    await run_to_end(redis, pipeline)
    assert tries[1] == 3
    # `OneBehind` never gives the handler the last one.
    await check_sent(redis, pipeline, [each for each in NUMBERS if tries[each]])
    assert len(tries) >= len(NUMBERS) - 1


async def test_a_list_of_events_emits_as_a_whole(redis: Redis, pipeline: Pipeline) -> None:
    async def work(events: Events[Item]) -> None:
        async for items in events.take(4, within=0.1).records():
            for item in items:
                events.emit(pipeline.copies, doubled(item.number))
                events.emit(pipeline.doubled, doubled(item.number))
            if any(item.number == 5 for item in items):
                raise ValueError("bad")

    dead = DeadLetterMiddleware()
    pipeline.processor(work, retries=1, exception_policy="ignore", middleware=[dead])
    await pipeline.send(*NUMBERS)
    await run_to_end(redis, pipeline)
    await check_sent(redis, pipeline, [each for each in NUMBERS if each != 5])


async def test_a_function_of_one_record_emits_also_in_a_thread(
    redis: Redis, pipeline: Pipeline
) -> None:
    def work(item: Item) -> None:
        pipeline.doubled.emit(doubled(item.number), headers={"from": "thread"})
        pipeline.copies.emit(doubled(item.number))

    pipeline.app.on(pipeline.items, name="work")(work)
    await pipeline.send(*NUMBERS)
    await run_to_end(redis, pipeline)
    await check_sent(redis, pipeline, NUMBERS)


async def test_more_than_one_commit_holds_is_split_between_events(
    redis: Redis, pipeline: Pipeline
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            for each in range(40):
                events.emit(pipeline.copies, doubled(100 * item.number + each))

    pipeline.processor(work)
    await pipeline.send(*NUMBERS)
    await run_to_end(redis, pipeline)
    expected = [100 * number + each for number in NUMBERS for each in range(40)]
    assert await pipeline.numbers(redis, pipeline.copies) == expected


async def test_an_event_that_emits_more_than_a_commit_holds_fails_alone(
    redis: Redis, pipeline: Pipeline
) -> None:
    raised: list[TooManyWrites] = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            try:
                for each in range(201 if item.number == 1 else 1):
                    events.emit(pipeline.copies, doubled(each))
            except TooManyWrites as error:
                raised.append(error)
                raise

    pipeline.processor(work, retries=0, exception_policy="ignore")
    await pipeline.send(0, 1, 2)
    await run_to_end(redis, pipeline)
    assert await pipeline.numbers(redis, pipeline.copies) == [0, 0]
    assert f"more than {pending_effects.MOST_ENTRIES} entries" in str(raised[0])


async def test_nothing_is_emitted_without_an_event(
    redis: Redis, redis_url: str, pipeline: Pipeline
) -> None:
    with pytest.raises(NotInHandler, match=r"await doubled\.send"):
        pipeline.doubled.emit(doubled(1))
    raised: list[Exception] = []
    left: list[asyncio.Task[None]] = []
    over = asyncio.Event()

    async def late(events: Events[Item]) -> None:
        await over.wait()
        try:
            events.emit(pipeline.copies, doubled(99))
        except NotInHandler as error:
            raised.append(error)

    async def work(events: Events[Item]) -> None:
        left.append(asyncio.create_task(late(events)))
        try:
            events.emit(pipeline.copies, doubled(98))
        except NotInHandler as error:
            raised.append(error)
        async for item in events.records():
            try:
                raise ValueError(item.number)
            finally:
                events.emit(pipeline.copies, doubled(item.number))

    pipeline.processor(work, retries=0, exception_policy="ignore")
    await pipeline.send(1)
    await run_to_end(redis, pipeline)
    over.set()
    await asyncio.gather(*left)
    assert len(raised) == 2 * len(left)
    assert await pipeline.numbers(redis, pipeline.copies) == []


async def test_a_record_that_cannot_be_emitted_fails_its_event(
    redis: Redis, redis_url: str, pipeline: Pipeline, app_name: str
) -> None:
    class Text(Record):
        text: str

    other = App(f"{app_name}2", redis_url=redis_url)
    foreign = other.stream("foreign", record=Text, partition_by="text")
    texts = pipeline.app.stream("texts", record=Text, partition_by="text")
    of_texts = texts.derive("of-texts", Text)
    pipeline.app.configure(max_record_bytes=1000)
    raised: list[Exception] = []
    emits = [
        (foreign, Text(text="x")),
        (of_texts, Text(text="x")),
        (texts, Text(text="x" * 1001)),
    ]

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            try:
                events.emit(pipeline.copies, doubled(item.number))
                events.emit(*emits[item.number])
            except Exception as error:
                raised.append(error)
                raise

    pipeline.processor(work, retries=0, exception_policy="ignore")
    await pipeline.send(0, 1, 2)
    await run_to_end(redis, pipeline)
    assert [type(each) for each in raised] == [ConfigError, ConfigError, RecordTooLarge]
    assert "is of another app" in str(raised[0])
    assert "is derived from texts" in str(raised[1])
    assert await pipeline.numbers(redis, pipeline.copies) == []


async def test_a_target_that_was_deleted_is_declared_again(
    redis: Redis, pipeline: Pipeline
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            events.emit(pipeline.doubled, doubled(item.number))

    pipeline.processor(work)
    await pipeline.send(1, 2)
    await run_to_end(redis, pipeline)
    for partition in range(3):
        prefix = pipeline.doubled.spec.prefix(partition)
        await redis.delete(keys.log(prefix), keys.meta(prefix))
    await pipeline.send(3)
    await run_to_end(redis, pipeline)
    assert await pipeline.numbers(redis, pipeline.doubled) == [3]
    assert await redis.hget(keys.meta(pipeline.doubled.spec.prefix(0)), "partitions") == b"3"


async def test_a_target_with_another_partition_count_stops_the_worker(
    redis: Redis, pipeline: Pipeline
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            events.emit(pipeline.doubled, doubled(item.number))

    spec = pipeline.doubled.spec
    pipeline.processor(work)
    await pipeline.send()
    run = asyncio.create_task(Worker(pipeline.app).run())
    await until(lambda: owned(redis, pipeline), "the worker has started")
    await Scripts(redis).call(declare(spec.prefix(0), StreamContract(8, "xxh64")))
    await pipeline.send(1)
    with pytest.raises(Halted, match="partition_count=8"):
        await asyncio.wait_for(run, 20)
    assert not await redis.exists(keys.log(spec.prefix(spec.partition(doubled(1)))))
    assert (await pipeline.row(redis))["checkpoint"] == "0-0"


async def test_a_processor_may_emit_to_the_stream_that_it_reads(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    """Also when it is full: the commit makes room for what it adds."""
    pipeline = Pipeline(app_name, redis_url, partition_size=4)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            pipeline.seen.append(item.number)
            if item.number < 20:
                events.emit(pipeline.items, Item(number=item.number + 4))

    pipeline.processor(work)
    await pipeline.send(0, 1, 2, 3)
    await run_to_end(redis, pipeline)
    await until(lambda: len(pipeline.seen) == 24, "all were emitted")
    assert pipeline.seen == [*range(24)]


async def test_a_full_target_holds_the_partition_and_inspect_names_it(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    pipeline = Pipeline(app_name, redis_url, size=10)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            pipeline.seen.append(item.number)
            events.emit(pipeline.doubled, Doubled(number=item.number, twice=0))

    pipeline.processor(work, retries=0)
    await pipeline.send(*range(30))

    async def row() -> Any:
        seen = await inspect(redis, await check_server(redis, redis_url), app_name)
        return next(each for each in seen["processors"] if each["name"] == "work")

    async def waits() -> Any:
        return (await row())["partitions"][0]["waits_for"]

    async with pipeline.running():
        await until(lambda: owned(redis, pipeline), "the worker has started")
        found = await until(waits, "it waits")
        assert found["stream"] == "doubled"
        assert found["since_ms"] >= 0
        assert (await row())["state"] == "degraded"
        assert (await row())["partitions"][0]["attempts"] == 0
        app = App(app_name, redis_url=redis_url)
        doubles = app.stream(
            "doubled", record=Doubled, partition_by="twice", partition_count=3, partition_size=10
        )
        read: list[int] = []

        @app.on(doubles)
        async def reads(each: Doubled) -> None:
            read.append(each.number)

        worker = Worker(app)
        run = asyncio.create_task(worker.run())
        await until(lambda: len(read) == 30, "all were emitted")
        assert read == [*range(30)]
        await until(lambda: _over(waits), "it does not wait any more")
        worker.stop.set()
        await run


async def _over(waits: Callable[[], Awaitable[Any]]) -> bool:
    return await waits() is None
