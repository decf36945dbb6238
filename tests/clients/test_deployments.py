"""Workers in both languages on a cluster and behind sentinels, while keys and primaries move."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError

from runnel import keys
from runnel.connection.connect import connect
from tests.clients.programs import (
    COUNT,
    TOTALS,
    Children,
    processed,
    send,
    start_sender,
    start_worker,
    state,
    totals_of,
)
from tests.fleet import ClusterFleet, SentinelFleet
from tests.nodes import ask, catches_up
from tests.servers import Server
from tests.worker.workers import until

pytestmark = pytest.mark.timeout(300)


async def at_least(redis: Redis, goal: int) -> bool:
    with contextlib.suppress(ConnectionError):  # The primary has gone: the next call finds another.
        return await processed(redis) >= goal
    return False


async def all_emitted(redis: Redis) -> bool:
    return sum(map(len, (await totals_of(redis)).values())) >= COUNT


async def finish(redis: Redis, children: Children) -> None:
    """Wait until all is done, end the workers, and compare the totals."""
    await until(partial(at_least, redis, COUNT), "all are processed", 60)
    await until(partial(all_emitted, redis), "all totals have arrived", 60)
    for each in children.values():
        each.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(each.wait) == 0
    assert await totals_of(redis) == TOTALS, "each total is there once, and in order"


def slot_of(partition: int) -> int:
    return int(key_slot(keys.partition("mixed", "items", partition, "items").encode()))


def promote(fleet: ClusterFleet, primary: Server) -> None:
    """Exchange a primary of the cluster and its replica. Nothing is lost."""
    replica = fleet.replicas[fleet.masters.index(primary)]
    ask(replica, "CLUSTER FAILOVER")


@pytest.mark.fault(1, 17, 38)
async def test_a_mixed_group_on_a_cluster(client: Path, children: Children) -> None:
    with ClusterFleet() as fleet:
        async with connect(fleet.url) as redis:
            for name in ("node-1", "python-1"):
                start_worker(children, client, fleet.url, name)

            async def both_own() -> bool:
                return set(await state(redis, "owner")) == {"node-1", "python-1"}

            await until(both_own, "both have partitions")
            start_sender(children, client, fleet.url, 0, 3)
            await send(fleet.url, range(4, 9))
            await until(partial(at_least, redis, 200), "some are processed")
            owner = fleet.owner(slot_of(0))
            to = next(each for each in fleet.masters if each is not owner)
            await asyncio.to_thread(fleet.migrate, slot_of(0), to)
            await until(partial(at_least, redis, 500), "more are processed")
            await asyncio.to_thread(promote, fleet, fleet.owner(slot_of(1)))
            await until(partial(at_least, redis, 800), "more are processed")
            children["python-1"].kill()
            children.pop("python-1").wait()
            await finish(redis, children)


async def test_a_worker_behind_sentinels_follows_the_primary(
    client: Path, children: Children
) -> None:
    with SentinelFleet(replicas=1) as fleet:
        async with connect(fleet.url) as redis:
            start_worker(children, client, fleet.url, "node-1")
            start_sender(children, client, fleet.url, 0, 3)
            first = sum(each % 9 <= 3 for each in range(COUNT))
            await until(partial(at_least, redis, first), "the first ones are processed", 60)
            await asyncio.to_thread(catches_up, fleet.replicas[0], fleet.primary)
            fleet.primary.kill()
            start_sender(children, client, fleet.url, 4, 8)
            await finish(redis, children)
