"""A server is checked before use; what cannot be used is refused in one sentence with the fix."""

from __future__ import annotations

import asyncio
import logging

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runnel.connection.connect import connect
from runnel.connection.explain import explain_redis_error
from runnel.connection.url import parse
from runnel.errors import ServerError, ServerUnreachable
from runnel.preflight.server import check_server
from runnel.worker.worker import Worker
from tests.integration.restricted import (
    declare,
    refusal_of_worker,
    restricting_proxy,
    server_without,
)
from tests.servers import Server, free_port


async def test_the_check_reports_kind_version_and_mode(server: Server) -> None:
    async with connect(server.url) as client:
        info = await check_server(client, server.url)
    assert info.kind == server.binary.kind
    assert info.version == ".".join(map(str, server.binary.version))
    assert (info.mode, info.warnings) == ("standalone", ())


async def test_the_check_recognises_a_cluster_node(cluster: Redis, cluster_url: str) -> None:
    assert (await check_server(cluster, cluster_url)).mode == "cluster"


@pytest.mark.parametrize(
    ("password", "problem"),
    [("", "wants a login"), (":wrong@", "refuses the login"), ("nobody:right@", "refuses")],
)
async def test_a_missing_or_wrong_login_is_an_error(password: str, problem: str) -> None:
    with Server(appendonly="no") as server:
        with server.client() as client:
            client.config_set("requirepass", "right")
        url = server.url.replace("redis://", f"redis://{password}")
        async with connect(url) as other:
            with pytest.raises(ServerError, match=problem) as error:
                await check_server(other, url)
    assert not isinstance(error.value, ServerUnreachable)


async def test_a_replica_is_refused_and_its_primary_named(server: Server) -> None:
    primary = f"127.0.0.1 {free_port()}"
    with Server(appendonly="no", replicaof=primary) as replica:
        async with connect(replica.url) as client:
            with pytest.raises(ServerError, match=primary.replace(" ", ":")):
                await check_server(client, replica.url)
            with pytest.raises(RedisError) as refused:
                await client.xadd("log", {"a": "b"})
    assert "read-only replica" in str(explain_redis_error(refused.value, replica.url))


async def test_a_user_without_info_gets_a_warning(server: Server) -> None:
    async with connect(server.url) as client:
        allowed = ["+ping", "+eval"]
        await client.acl_setuser("half", enabled=True, nopass=True, commands=allowed)
    url = server.url.replace("redis://", "redis://half:any@")
    async with connect(url) as half:
        info = await check_server(half, url)
        assert info.version is None
        assert "+info" in info.warnings[0]
        with pytest.raises(RedisError) as refused:
            await half.xadd("log", {"a": "b"})
        with pytest.raises(RedisError) as inside_a_script:
            await half.eval("return redis.call('TIME')", 0)
    for error in (refused.value, inside_a_script.value):
        assert "does not permit what Runnel needs" in str(explain_redis_error(error, url))


@pytest.mark.parametrize(
    ("policy", "warning"),
    [
        ("noeviction", None),
        ("allkeys-lru", "Set it to noeviction"),
        ("allkeys-random", "Set it to noeviction"),
        ("volatile-ttl", "never expire"),
    ],
)
async def test_a_policy_that_evicts_is_a_warning(
    server: Server, policy: str, warning: str | None
) -> None:
    async with connect(server.url) as client:
        await client.config_set("maxmemory-policy", policy)
        info = await check_server(client, server.url)
    assert len(info.warnings) == (warning is not None)
    assert all(warning in each for each in info.warnings if warning)


async def loading_server(keys: int) -> Server:
    """A server that has begun to load its data, 1 ms a key."""
    server = Server(appendonly="no").start()
    with server.client() as client:
        client.mset({f"key{number}": "value" for number in range(keys)})
        client.save()
    server.kill()
    # It serves its clients after every 1,024 bytes of the file.
    server.options.update(key_load_delay="1000", loading_process_events_interval_bytes="1024")
    server.start(wait=False)
    await asyncio.to_thread(server.wait_until_it_listens)
    return server


async def test_a_server_that_loads_its_data_is_waited_for() -> None:
    with await loading_server(1000) as server:
        async with connect(server.url) as redis:
            with pytest.raises(ServerError, match="still loading"):
                await check_server(redis, server.url, loading_timeout=0)
            assert (await check_server(redis, server.url)).mode == "standalone"
            assert await redis.dbsize() == 1000


async def test_without_info_the_version_of_a_server_is_unknown() -> None:
    with server_without("INFO") as server:
        async with connect(server.url) as client:
            info = await check_server(client, server.url)
            assert (info.kind, info.version, info.mode) == ("redis", None, "standalone")
            (warning,) = info.warnings
    assert "has no INFO" in warning


async def test_a_proxy_that_hangs_up_on_info_is_named(server: Server) -> None:
    async with restricting_proxy(server.url, {b"INFO": None}) as url:
        message = await refusal_of_worker(url)
    assert f"Redis at {url} answers PING and hangs up on INFO, as a proxy such as" in message


async def test_an_address_that_hangs_up_on_everything_counts_as_unreachable(server: Server) -> None:
    async with (
        restricting_proxy(server.url, {b"INFO": None, b"PING": None}) as url,
        connect(url) as client,
    ):
        with pytest.raises(ServerUnreachable):
            await check_server(client, url)


async def test_a_worker_waits_for_a_server_that_loads_its_data_and_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with await loading_server(1000) as server, caplog.at_level(logging.WARNING, "runnel"):
        await Worker(declare(server.url)).run(burst=True)
    message = [each.getMessage() for each in caplog.records if "load" in each.getMessage()]
    assert message[0].startswith(f"Redis at {server.url} is loading its data, waiting: ")
    assert message[-1].startswith(f"Redis at {server.url} has loaded its data, after ")
    assert len(message) == 2


async def test_a_worker_that_waits_for_a_server_can_be_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with await loading_server(100_000) as server:
        worker = Worker(declare(server.url))
        running = asyncio.create_task(worker.run())
        for _ in range(2000):
            if "is loading its data" in caplog.text:
                break
            await asyncio.sleep(0.01)
        worker.stop.set()
        async with asyncio.timeout(20):
            await running


async def test_the_server_is_one_that_runnel_can_use(redis: Redis, redis_url: str) -> None:
    info = await check_server(redis, redis_url)
    kind = parse(redis_url).kind
    assert info.mode == ("standalone" if kind == "server" else kind)
