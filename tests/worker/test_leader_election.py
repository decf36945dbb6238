"""One worker of an app leads at a time; when it leaves, another one leads."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.protocol.scripts import Scripts
from runnel.worker.backend import RedisBackend
from runnel.worker.cancelling import cancel_and_wait
from runnel.worker.leader_election import LeaderElection
from tests.worker.workers import until


@pytest.mark.only_on("server", "sentinel")
async def test_another_worker_leads_at_once_when_the_leader_leaves(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    """It does not wait for its next call, 20 s later."""
    listen = RedisBackend(Scripts(redis), redis_url).listen
    first, second = (LeaderElection(Scripts(redis), app_name, name, 60, listen) for name in "ab")
    leader = asyncio.create_task(first.run())
    await asyncio.wait_for(first.leading.wait(), 5)
    follower = asyncio.create_task(second.run())
    wake = keys.wake(keys.app_scope(app_name))
    await until(lambda: heard_by(redis, wake, 2), "both listen")
    await cancel_and_wait([leader])
    await first.leave()
    await asyncio.wait_for(second.leading.wait(), 10)
    await cancel_and_wait([follower])


async def heard_by(redis: Redis, channel: str, listeners: int) -> bool:
    ((_, count),) = await redis.pubsub_numsub(channel)
    return bool(count == listeners)


async def test_without_a_channel_another_worker_leads_soon(redis: Redis, app_name: str) -> None:
    first = LeaderElection(Scripts(redis), app_name, "first", 0.3)
    second = LeaderElection(Scripts(redis), app_name, "second", 0.3)
    leader = asyncio.create_task(first.run())
    await asyncio.wait_for(first.leading.wait(), 5)
    follower = asyncio.create_task(second.run())
    await cancel_and_wait([leader])
    await first.leave()
    await asyncio.wait_for(second.leading.wait(), 5)
    assert not first.leading.is_set()
    follower.cancel()
    await asyncio.wait([follower])
