"""The connections of a worker to Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from runnel.protocol.scripts import Scripts
from runnel.worker import backend as backend_module
from runnel.worker.backend import RedisBackend
from tests.proxy import Proxy
from tests.worker.workers import until


@pytest.mark.only_on("server")
async def test_a_dead_connection_to_a_channel_is_opened_again(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "LISTEN_S", 0.1)
    heard = asyncio.Event()

    async def subscriber() -> str | None:
        clients: Any = await redis.client_list(_type="pubsub")
        return clients[0]["id"] if clients else None

    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        backend = RedisBackend(Scripts(client), proxy.url)
        listening = asyncio.create_task(backend.listen("wake", heard.set))
        first = await until(subscriber, "it listens")
        await asyncio.sleep(0.5)
        assert await subscriber() == first, "no message alone is no reason to reconnect"
        proxy.hold("requests", "replies")
        await asyncio.sleep(0.5)
        proxy.heal()

        async def another() -> bool:
            return await subscriber() not in (None, first)

        await until(another, "it listens again")
        assert await redis.publish("wake", "x") == 1
        await asyncio.wait_for(heard.wait(), 10)
        listening.cancel()
        await asyncio.wait([listening])


async def test_a_feed_that_closes_late_leaves_the_connection_of_its_successor_counted(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster_url.replace("redis://", "redis+cluster://").removesuffix("/0")
    monkeypatch.setattr(backend_module, "OWN_CONNECTIONS", 1)
    log, other = "runnel:{a:s:0}:s:log", "runnel:{a:s:1}:s:log"
    async with connect(url) as client:
        backend = RedisBackend(Scripts(client), url)
        first, second = backend.feed(log), backend.feed(log)
        await first.close()
        assert backend.feed_of(other, 1).startswith("node")
        await second.close()
        assert backend.feed_of(other, 1) == other
