"""A worker registers its processors before it joins their groups."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel.errors import ConfigError
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.worker.inside import Ledger
from tests.worker.workers import until


async def test_one_processor_too_many_is_refused_with_an_explanation(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    scripts, work = Scripts(redis), ledger.app.processors["work"]
    fields = {f"checkpoint:p{number}": "0-0" for number in range(100)}
    await redis.hset(ledger.meta, mapping=fields)  # type: ignore[arg-type]
    said = "stream items has 100 registered processors, and 100 are the most there may be"
    with pytest.raises(ConfigError, match=said):
        await admin.add(scripts, work)
    with pytest.raises(ConfigError, match=said):
        await Worker(ledger.app).run()
    await redis.hdel(ledger.meta, "checkpoint:p7")
    await admin.add(scripts, work)


async def test_a_processor_that_starts_at_the_end_sees_only_what_comes_then(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor(start="latest")
    await ledger.send(1, 2, 3)
    async with ledger.running():
        await until(lambda: redis.exists(ledger.state), "the processor is registered")
        await ledger.send(4, 5)
        await until(lambda: ledger.seen == [4, 5], "only the new ones come")
