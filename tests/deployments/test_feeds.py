"""How the logs of a cluster are read."""

from __future__ import annotations

import asyncio

from runnel import deployment
from runnel.connection import connect
from runnel.worker.feeds import Batch, LogFeed


async def test_whoever_reads_can_be_cancelled_though_the_read_is_cut_short(
    cluster_url: str,
) -> None:
    log, closed = "runnel:{a:s:0}:s:log", asyncio.Event()
    async with connect(cluster_url) as client:
        feed = LogFeed(deployment.of(client), log, closed.set)

        reading = asyncio.create_task(feed.read([Batch(1, [(log, "0-0")])], [], True, None))
        await asyncio.sleep(0)
        await feed.cut_short()
        assert await reading is None
        reading = asyncio.create_task(feed.read([Batch(1, [(log, "0-0")])], [], True, None))
        await asyncio.sleep(0)
        await feed.cut_short()
        reading.cancel()
        await asyncio.wait([reading], timeout=10)
        assert reading.cancelled()
        await feed.close()
        assert closed.is_set()
