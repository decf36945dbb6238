"""Clients never repeat a command by themselves, and send only what the caller asks for."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel.connection.connect import connect, connect_sync
from tests.proxy import Proxy
from tests.servers import Server

ADD = "return redis.call('XADD', KEYS[1], '*', 'a', 'b')"


@pytest.mark.only_on("server")
async def test_a_script_whose_reply_is_lost_runs_once(redis: Redis, redis_url: str) -> None:
    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        await client.ping()
        proxy.lose_reply_to(b"XADD")
        with pytest.raises(ConnectionError):
            await client.eval(ADD, 1, "log")
        assert (proxy.requests, proxy.lost) == (1, 1)
    assert await redis.xlen("log") == 1


@pytest.mark.only_on("server")
async def test_a_script_whose_reply_is_lost_runs_once_from_a_thread_too(
    redis: Redis, redis_url: str
) -> None:
    async with Proxy(redis_url) as proxy:
        with connect_sync(proxy.url) as client:
            proxy.lose_reply_to(b"XADD")
            with pytest.raises(ConnectionError):
                await asyncio.to_thread(client.eval, ADD, 1, "log")
        assert (proxy.requests, proxy.lost) == (1, 1)
    assert await redis.xlen("log") == 1


@pytest.mark.only_on("server")
async def test_a_pipeline_whose_reply_is_lost_runs_once(redis: Redis, redis_url: str) -> None:
    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        proxy.lose_reply_to(b"XADD")
        pipeline = client.pipeline(transaction=False)
        pipeline.eval(ADD, 1, "log")
        with pytest.raises(ConnectionError):
            await pipeline.execute()
        assert (proxy.requests, proxy.lost) == (1, 1)
    assert await redis.xlen("log") == 1


async def test_a_client_works_again_after_its_server_came_back(server: Server) -> None:
    async with connect(server.url) as client:
        await client.set("key", "value")
        server.restart()
        with contextlib.suppress(ConnectionError):
            await client.ping()
        assert await client.get("key") == b"value"


@pytest.mark.only_on("server")
async def test_a_client_has_the_name_it_was_given(redis_url: str) -> None:
    async with connect(redis_url, client_name="worker-1") as client:
        assert await client.client_getname() in (b"worker-1", "worker-1")
    with connect_sync(redis_url, client_name="worker-2") as sync:
        assert sync.client_getname() in (b"worker-2", "worker-2")


@pytest.mark.only_on("server", "sentinel")
async def test_a_client_sends_nothing_on_its_own(redis: Redis, redis_url: str) -> None:
    await redis.config_resetstat()
    async with connect(redis_url) as client:
        await client.ping()
    called = {name for name in await redis.info("commandstats") if "|setinfo" in name}
    assert called == set()
