"""A read of logs in a cluster can be cut short and cancelled."""

from __future__ import annotations

import asyncio

import pytest

from runnel.connection import deployment
from runnel.connection.connect import connect
from runnel.worker.feeds import LogFeed, ReadBatch


@pytest.fixture
def url(cluster_url: str) -> str:
    """The one cluster node, as a cluster."""
    return cluster_url.replace("redis://", "redis+cluster://").removesuffix("/0")


async def test_whoever_reads_can_be_cancelled_though_the_read_is_cut_short(url: str) -> None:
    log, closed = "runnel:{a:s:0}:s:log", asyncio.Event()
    async with connect(url) as client:
        feed = LogFeed(deployment.of(client), log, closed.set)

        reading = asyncio.create_task(feed.read([ReadBatch(1, [(log, "0-0")])], [], True, None))
        await asyncio.sleep(0)
        await feed.cut_short()
        assert await reading is None
        reading = asyncio.create_task(feed.read([ReadBatch(1, [(log, "0-0")])], [], True, None))
        await asyncio.sleep(0)
        await feed.cut_short()
        reading.cancel()
        await asyncio.wait([reading], timeout=10)
        assert reading.cancelled()
        await feed.close()
        assert closed.is_set()
