"""A partition whose commits fail holds up no other."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from runnel.core.partition import PartitionState
from tests.worker.depot import Depot
from tests.worker.workers import until


@pytest.mark.parametrize("commit", ["auto", "each"])
@pytest.mark.parametrize("broken", ["state", "meta"])
async def test_a_partition_whose_commits_fail_holds_up_no_other(
    redis: Redis,
    redis_url: str,
    app_name: str,
    states: list[PartitionState],
    commit: str,
    broken: str,
) -> None:
    depot = Depot(app_name, redis_url, 4, shutdown_timeout=0.5)
    depot.processor(commit=commit)
    partition_keys = depot.app.processors["work"].keys(0)
    key = partition_keys.state if broken == "state" else partition_keys.meta
    depot.held = {0, 1, 2, 3}
    await depot.fill(redis_url, dict.fromkeys(depot.keys, [10] * 400))
    async with depot.running():
        await until(
            lambda: sum(bool(each.current) for each in states) == 4, "each has a current event"
        )
        kept = await redis.dump(key) or b""
        await redis.delete(key)
        await redis.set(key, "the value of another program")
        depot.released.set()
        # A second for each of their commits would be far too much.
        await until(
            lambda: all(len(depot.seen[p]) == 400 for p in (1, 2, 3)), "the others continue", 20
        )
        await redis.delete(key)
        await redis.restore(key, 0, kept)
        await until(lambda: len(depot.seen[0]) >= 400, "so does this one once it is fixed")
    assert all(depot.seen[p] == list(range(400)) for p in (1, 2, 3))
