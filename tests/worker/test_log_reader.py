"""Large events, slow connections, little memory: reads continue and hold up no other partition."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from runnel.connection.redis_client import Client
from runnel.core.partition import PartitionState
from runnel.worker import feeds
from runnel.worker.log_reader import DECODED
from tests.proxy import Proxy
from tests.worker.depot import Blob, Depot
from tests.worker.workers import until


def waiting(states: list[PartitionState]) -> int:
    """Bytes of the events that wait."""
    return sum(sum(map(len, raw[1])) for state in states for raw in state.buffer)


@pytest.mark.parametrize(
    ("sizes", "limit"),
    [
        ([300_000] * 30, 8_000_000),  # All of one size.
        ([1_000_000] * 4, 1_000_000),  # One of each partition, though that is more.
        ([100] * 300 + [300_000] * 20, 8_000_000),  # Small ones first.
        ([500] * 50 + [400_000] + [500] * 50, 2_000_000),  # One among small ones.
    ],
)
async def test_what_waits_in_memory_is_bounded_in_bytes(
    redis: Redis,
    redis_url: str,
    app_name: str,
    states: list[PartitionState],
    sizes: list[int],
    limit: int,
) -> None:
    depot = Depot(app_name, redis_url, 4, prefetch_bytes=limit)
    depot.processor()
    depot.held = set(depot.keys)
    await depot.fill(redis_url, dict.fromkeys(depot.keys, sizes))
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, waiting(states))
            await asyncio.sleep(0)

    async with depot.running():
        watching = asyncio.create_task(watch())
        await until(lambda: len([e for e in states if e.current]) == 4, "each has a current event")
        depot.released.set()
        await until(lambda: sum(depot.counts().values()) == 4 * len(sizes), "all are processed")
        watching.cancel()
    assert depot.in_order()
    assert most <= limit + 4 * max(sizes), "and one of each partition"


async def test_events_whose_records_wait_with_them_take_more_memory(
    redis: Redis, redis_url: str, app_name: str, states: list[PartitionState]
) -> None:
    depot = Depot(app_name, redis_url, 1, prefetch_bytes=8_000_000)
    depot.app.table("totals", depot.blobs, value=int)
    depot.processor()
    depot.held = {0}
    await depot.fill(redis_url, {0: [100_000] * 100})
    async with depot.running():
        await until(lambda: states[-1:] and len(states[-1].buffer) > 4, "several wait")
        await until(lambda: not states[-1].reading, "no more is read")
        assert waiting(states) < 8_000_000 / DECODED
        depot.released.set()
        await until(lambda: depot.counts() == {0: 100}, "all are processed")


async def test_one_large_partition_does_not_starve_the_others(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    depot = Depot(app_name, redis_url, 4, prefetch_bytes=4_000_000)
    depot.processor()
    depot.held = {0}
    sizes = {0: [500_000] * 40, 1: [100] * 500, 2: [20_000] * 200, 3: [100] * 500}
    await depot.fill(redis_url, sizes)
    async with depot.running():
        await until(lambda: depot.counts() == {1: 500, 2: 200, 3: 500}, "the others are processed")
        depot.released.set()
        await until(lambda: len(depot.seen[0]) == 40, "so is the large one")
    assert depot.in_order()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader waits half a second for a reply."""
    monkeypatch.setattr(feeds, "BLOCK_MS", 100)

    def connect_soon(url: str) -> Client:
        return connect(url, 0.5)

    monkeypatch.setattr(feeds, "connect", connect_soon)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("size", "each"), [(200_000, 4), (20_000, 40), (1_000_000, 1)], ids=["200k", "20k", "1M"]
)
@pytest.mark.only_on("server")
async def test_a_slow_reply_that_keeps_arriving_does_not_time_out(
    redis: Redis, redis_url: str, app_name: str, size: int, each: int
) -> None:
    async with Proxy(redis_url) as proxy:
        depot = Depot(app_name, proxy.url, 8)
        depot.processor()
        await depot.fill(redis_url, dict.fromkeys(depot.keys, [size] * each))
        proxy.rate = 2_500_000
        async with depot.running():
            total = 8 * each
            await until(lambda: sum(depot.counts().values()) == total, "all arrive", 30)
    assert depot.in_order()


@pytest.mark.usefixtures("impatient")
@pytest.mark.only_on("server")
async def test_large_events_that_were_sent_during_an_outage_are_read_in_small_parts(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    async with Proxy(redis_url) as proxy:
        depot = Depot(app_name, proxy.url, 4, prefetch_bytes=4_000_000)
        depot.processor()
        await depot.fill(redis_url, dict.fromkeys(depot.keys, [10] * 100))
        async with depot.running():
            await until(lambda: sum(depot.counts().values()) == 400, "the small ones are processed")
            proxy.hold("requests", "replies")
            proxy.cut()
            more = await fill_more(depot, redis_url, 100, [300_000] * 25)
            proxy.rate = 20_000_000
            proxy.heal()
            await until(
                lambda: sum(depot.counts().values()) == 400 + more, "so are the large ones", 30
            )
    assert depot.in_order()


async def fill_more(depot: Depot, url: str, first: int, sizes: list[int]) -> int:
    """Send more to each partition. Returns how many."""
    other = Depot(depot.app.name, url, len(depot.keys))
    for key in depot.keys.values():
        blobs = [Blob(key=key, number=first + n, body=b"x" * s) for n, s in enumerate(sizes)]
        await other.blobs.send(*blobs[: len(blobs) // 2])
        await other.blobs.send(*blobs[len(blobs) // 2 :])
    await other.app.close()
    return len(depot.keys) * len(sizes)


async def test_a_reply_far_larger_than_estimated_is_aborted_and_read_in_parts(
    redis: Redis, redis_url: str, app_name: str, states: list[PartitionState], caplog: Any
) -> None:
    depot = Depot(app_name, redis_url, 4, prefetch_bytes=4_000_000)
    depot.processor()
    await depot.fill(redis_url, dict.fromkeys(depot.keys, [10] * 50))
    caplog.set_level("INFO", "runnel.worker")
    async with depot.running():
        await until(lambda: sum(depot.counts().values()) == 200, "the small ones are processed")
        depot.held = set(depot.keys)
        # Each has a current event and a buffer full of small ones; large ones follow in the log.
        await fill_more(depot, redis_url, 50, [10] * 401)
        await until(lambda: all(len(each.buffer) > 200 for each in states), "the buffers are full")
        await fill_more(depot, redis_url, 451, [250_000] * 30)
        depot.released.set()
        await until(lambda: sum(depot.counts().values()) == 4 * 481, "all are processed")
    assert depot.in_order()
    assert "with smaller limits: broken off after" in caplog.text
