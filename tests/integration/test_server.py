"""A server is checked before use; an error is one sentence with the fix, and without secrets."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runnel.connection.connect import connect
from runnel.connection.explain import explain_redis_error
from runnel.connection.url_text import Url, redacted
from runnel.errors import ConfigError, ServerError, ServerUnreachable
from runnel.preflight.server import check_server
from tests.servers import Server, free_port


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@localhost:1",
        "redis://:secret@localhost:1",
        "reddis://user:secret@localhost",
        "redis://user:se#secret@localhost",
        "redis://user:se/secret@localhost",
        "redis://user:p@secret@localhost:port",
        "redis://localhost:1?password=secret",
        "redis://localhost:1?password=p@secret",
        "redis://user:se?secret@localhost",
        "redis://user:secret://secret@localhost",
        "user:secret@localhost",
    ],
)
async def test_a_password_is_never_shown(url: str) -> None:
    assert "secret" not in redacted(url)
    with pytest.raises((ConfigError, ServerError)) as refused:
        async with connect(url) as client:
            await check_server(client, url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("origin", "origin_text", "fix"),
    [
        (None, "", "set RUNNEL_REDIS_URL"),
        ("", ", the default", "set RUNNEL_REDIS_URL"),
        ("--redis-url", ", as --redis-url says", "correct that"),
        ("RUNNEL_REDIS_URL in the environment", None, "correct that"),
    ],
)
async def test_a_missing_server_is_named_with_the_origin_of_its_url_and_the_fix(
    origin: str | None, origin_text: str | None, fix: str
) -> None:
    address = f"redis://127.0.0.1:{free_port()}"
    url = address if origin is None else Url(address, origin)
    async with connect(url) as client:
        with pytest.raises(ServerUnreachable) as error:
            await check_server(client, url)
    origin_text = f", as {origin} says" if origin_text is None else origin_text
    assert str(error.value).startswith(
        f"No Redis at {address}{origin_text}. "
        f"Start one with `runnel server --redis-url {address}`, or {fix}. "
    )


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


async def test_the_error_of_a_full_server_names_the_fix(server: Server) -> None:
    async with connect(server.url) as client:
        await client.config_set("maxmemory", 1)
        with pytest.raises(RedisError) as refused:
            await client.xadd("log", {"a": "b"})
    assert "raise it" in str(explain_redis_error(refused.value, server.url))


async def test_the_error_of_a_server_without_free_connections_names_the_fix(server: Server) -> None:
    async with connect(server.url) as client, connect(server.url) as second:
        await client.config_set("maxclients", 1)
        with pytest.raises(ServerError, match="maxclients"):
            await check_server(second, server.url)


async def test_a_server_that_loads_its_data_is_waited_for() -> None:
    with Server(appendonly="no") as server:
        with server.client() as client:
            client.mset({f"key{number}": "value" for number in range(1000)})
            client.save()
        server.kill()
        # 1 ms a key; it serves its clients after every 1,024 bytes of the file.
        slow = {"key_load_delay": "1000", "loading_process_events_interval_bytes": "1024"}
        server.options.update(slow)
        server.start(wait=False)
        await asyncio.to_thread(server.wait_until_it_listens)
        async with connect(server.url) as redis:
            with pytest.raises(ServerError, match="still loading"):
                await check_server(redis, server.url, loading_timeout=0)
            assert (await check_server(redis, server.url)).mode == "standalone"
            assert await redis.dbsize() == 1000
