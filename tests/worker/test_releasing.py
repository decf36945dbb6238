"""A lease is released although its last commit finds no room in another stream."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Events
from tests.worker.inside import Item
from tests.worker.pipeline import Doubled, Pipeline
from tests.worker.workers import until


@pytest.fixture
def pipeline(redis: Redis, redis_url: str, app_name: str) -> Pipeline:
    return Pipeline(app_name, redis_url, size=10, shutdown_timeout=1.0)


@pytest.mark.parametrize("asks_on", [True, False])
async def test_a_worker_that_waits_for_room_leaves_without_an_unclean_tenure(
    redis: Redis, pipeline: Pipeline, asks_on: bool
) -> None:
    """Also if its handler has an event, which is finished when it is told to leave."""

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            pipeline.seen.append(item.number)
            events.emit(pipeline.doubled, Doubled(number=item.number, twice=0))
            if not asks_on and item.number == 20:
                await events.commit()

    pipeline.processor(work)
    await pipeline.send(*range(30))

    async def waits() -> Any:
        return (await pipeline.row(redis)).get("waits_for")

    async with pipeline.running():
        await until(waits, "it waits")
    state = await redis.hgetall(pipeline.state)
    assert state[b"released"] == b"1"
    emitted = await pipeline.numbers(redis, pipeline.doubled)
    assert emitted == pipeline.seen[: len(emitted)]
    assert 0 < len(emitted) <= 10, "what is committed together needs room for all of it"
    async with pipeline.running():
        await until(waits, "it waits again")
        state = await redis.hgetall(pipeline.state)
        assert state.get(b"unclean_tenures", b"0") == b"0"
