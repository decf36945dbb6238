"""A worker whose declarations differ from what is stored writes nothing."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel import (
    App,
)
from runnel.errors import Mismatch
from runnel.worker.worker import Worker
from tests.primaries import every_key
from tests.worker.inside import Item, Ledger, owned
from tests.worker.workers import until


@pytest.mark.fault(48)
async def test_a_worker_with_another_partition_count_is_refused_and_has_written_nothing(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it runs")
    keys = await every_key(redis)
    before = {key: await redis.type(key) for key in keys}
    registry = await redis.hgetall(f"runnel:{{{ledger.app.name}}}:processors")
    grown = App(ledger.app.name, redis_url=ledger.url)
    items = grown.stream("items", record=Item, partition_by="number", partition_count=4)
    grown.on(items, name="work")(print)
    with pytest.raises(Mismatch, match="stored=1 given=4"):
        await Worker(grown).run()
    assert {key: await redis.type(key) for key in await every_key(redis)} == before
    assert await redis.hgetall(f"runnel:{{{ledger.app.name}}}:processors") == registry
