"""A commit that waits for room says so in the log, with the way out, and when it goes on."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events, keys
from runnel.codec import entry
from tests.worker.inside import Item, caught_up, owned
from tests.worker.pipeline import Doubled, Pipeline, doubled
from tests.worker.workers import until


async def test_a_partition_that_waits_for_itself_says_what_ends_that(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(app_name, redis_url, partition_size=10)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            for each in range(2):
                events.emit(pipeline.items, Item(number=item.number + each))

    pipeline.processor(work)
    await pipeline.send(*range(10))
    async with pipeline.running():
        await until(lambda: "larger partition_size" in caplog.text, "the way out is said")
    assert "it emits more to the partition that it reads than it finishes there" in caplog.text


async def test_it_is_told_once_there_is_room_again(
    redis: Redis, redis_url: str, app_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(app_name, redis_url, size=10)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            events.emit(pipeline.doubled, Doubled(number=item.number, twice=0))

    pipeline.processor(work, commit="each")
    await pipeline.send(*range(11))
    async with pipeline.running():
        await until(lambda: "no room in doubled, because no processor" in caplog.text, "it waits")
        spec = pipeline.doubled.spec
        log = keys.log(spec.prefix(spec.partition(Doubled(number=0, twice=0))))
        assert await redis.xtrim(log, maxlen=1, approximate=False) == 9
        await until(lambda: caught_up(redis, pipeline), "it goes on")
    assert "there is room again" in caplog.text
    assert caplog.text.count("no room in doubled") < 5
    assert await pipeline.numbers(redis, pipeline.doubled) == [9, 10]


async def test_a_commit_that_the_script_refuses_is_told_and_runs_no_handler_again(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry, "MOST_FIELDS", 10_000)  # Else nothing of that kind is emitted.
    pipeline = Pipeline(app_name, redis_url)
    handled = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            handled.append(item.number)
            wide = {f"h{number}": "x" for number in range(600)}
            events.emit(pipeline.copies, doubled(item.number), headers=wide)

    async def waits() -> Any:
        return (await pipeline.row(redis)).get("waits_for")

    pipeline.processor(work)
    await pipeline.send(1)
    async with pipeline.running():
        found = await until(waits, "inspect tells")
    assert "BADARG" in found["reason"]
    assert handled == [1]


async def test_inspect_tells_that_redis_refuses_commits_until_it_accepts_them(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    pipeline = Pipeline(app_name, redis_url)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            events.emit(pipeline.copies, doubled(item.number))

    async def waits() -> Any:
        return (await pipeline.row(redis)).get("waits_for")

    log = keys.log(pipeline.copies.spec.prefix(0))
    pipeline.processor(work)
    await pipeline.send()
    async with pipeline.running():
        await until(lambda: owned(redis, pipeline), "the worker has started")
        await redis.set(log, "of another program")
        await pipeline.send(1, 2)
        found = await until(waits, "inspect tells")
        assert found["stream"] is None
        assert "WRONGTYPE" in found["reason"]
        await redis.delete(log)
        await until(lambda: caught_up(redis, pipeline), "it goes on")
        assert await waits() is None
    assert await pipeline.numbers(redis, pipeline.copies) == [1, 2]
