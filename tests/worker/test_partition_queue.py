"""What a queue waits for before it hands out the next event, in a running worker."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis as BlockingRedis
from redis.asyncio import Redis

from runnel import Events
from runnel.connection.connect import connect
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


@pytest.mark.only_on("server")
async def test_after_a_death_what_is_finished_is_committed_before_the_next_event(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    """Otherwise the events before one that kills its worker are repeated after every death."""
    committed: list[int] = []

    async def work(events: Events[Item]) -> None:
        # It blocks the event loop, so that no commit is sent.
        with BlockingRedis.from_url(redis_url) as blocking:
            async for item in events.records():
                found: Any = blocking.hget(ledger.state, "processed")
                committed.append(int(found or 0))
                ledger.seen.append(item.number)

    ledger.processor(work)
    await ledger.send(*range(10))
    async with connect(redis_url) as client:
        await admin.add(Scripts(client), ledger.app.processors["work"])
    await redis.hset(
        ledger.state, mapping={"unclean_tenures": 1, "epoch": 1, "nonce": "x", "released": 1}
    )
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert committed == ledger.seen == [*range(10)]
