"""Clients that never repeat a command by themselves, and clear words when one cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError

from runnel.connection.connect import connect, connect_sync
from runnel.connection.explain import translate
from runnel.connection.url import check_url
from runnel.connection.url_text import Url, shown
from runnel.errors import ConfigError, ServerError, ServerUnreachable
from runnel.preflight.server import _judge, check_server
from tests.proxy import Proxy
from tests.servers import Server, free_port

ADD = "return redis.call('XADD', KEYS[1], '*', 'a', 'b')"


async def test_a_script_whose_reply_is_lost_runs_once(redis: Redis, redis_url: str) -> None:
    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        await client.ping()
        proxy.lose_reply_to(b"XADD")
        with pytest.raises(ConnectionError):
            await client.eval(ADD, 1, "log")
        assert (proxy.requests, proxy.lost) == (1, 1)
    assert await redis.xlen("log") == 1


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


async def test_a_client_is_called_what_it_was_named(redis_url: str) -> None:
    async with connect(redis_url, client_name="worker-1") as client:
        assert await client.client_getname() in (b"worker-1", "worker-1")
    with connect_sync(redis_url, client_name="worker-2") as sync:
        assert sync.client_getname() in (b"worker-2", "worker-2")


async def test_a_client_sends_nothing_on_its_own(redis: Redis, redis_url: str) -> None:
    await redis.config_resetstat()
    async with connect(redis_url) as client:
        await client.ping()
    called = {name for name in await redis.info("commandstats") if "|setinfo" in name}
    assert called == set()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is empty: use redis://HOST:PORT"),
        ("localhost:6379", "write redis://localhost:6379"),
        ("reddis://localhost", "did you mean redis://?"),
        ("redis+tls://localhost", "must start with redis://, rediss:// (TLS), unix://, redis+"),
        ("http://localhost", "must start with"),
        ("redis://", "names no host"),
        ("redis://:6379", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://localhost:port", "a port that is no number"),
        ("redis://localhost:0", "a port that is no number"),
        ("redis://localhost:65536", "a port that is no number"),
        ("redis://[::1", "a port that is no number"),
        ("redis://localhost/orders", "a database that is no number"),
        ("redis://localhost/-1", "a database that is no number"),
        ("redis://localhost?db=orders", "a database that is no number"),
        ("redis://localhost?db=²", "a database that is no number"),
        ("redis://localhost?sockettimeout=5", "sets sockettimeout, which redis:// does not have"),
        ("redis://localhost?ssl_cert_reqs=none", "which redis:// does not have"),
        ("redis://localhost?max_connections=many", "'max_connections'"),
        ("rediss://localhost?ssl_cert_reqs=maybe", "an unusable value"),
        ("redis://localhost?retry_on_timeout=yes", "sets retry_on_timeout"),
        ("redis://localhost?decode_responses=yes", "sets decode_responses"),
        ("redis://localhost?protocol=3", "sets protocol"),
        ("unix://", "names no socket"),
        ("unix:///", "names no socket"),
        ("unix://.runnel/s.sock", "a relative path"),
    ],
)
def test_a_wrong_url_is_refused_with_the_fix(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match="redis_url") as error:
        check_url(url)
    assert problem in str(error.value)
    with pytest.raises(ConfigError):
        connect(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://127.0.0.1:6379/0",
        "redis://[::1]:6379/15",
        "rediss://user:secret@example.org:6380/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
        "unix://user:secret@/run/redis.sock",
    ],
)
def test_a_usable_url_is_returned_as_it_is(url: str) -> None:
    assert check_url(url) == url


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
    assert "secret" not in shown(url)
    with pytest.raises((ConfigError, ServerError)) as refused:
        async with connect(url) as client:
            await check_server(client, url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("origin", "said", "fix"),
    [
        (None, "", "set RUNNEL_REDIS_URL"),
        ("", ", the default", "set RUNNEL_REDIS_URL"),
        ("--redis-url", ", as --redis-url says", "correct that"),
        ("RUNNEL_REDIS_URL in the environment", None, "correct that"),
    ],
)
async def test_a_missing_server_is_named_with_who_said_it_and_the_fix(
    origin: str | None, said: str | None, fix: str
) -> None:
    place = f"redis://127.0.0.1:{free_port()}"
    url = place if origin is None else Url(place, origin)
    async with connect(url) as client:
        with pytest.raises(ServerUnreachable) as error:
            await check_server(client, url)
    said = f", as {origin} says" if said is None else said
    assert str(error.value).startswith(
        f"No Redis at {place}{said}. Start one with `runnel server --redis-url {place}`, or {fix}. "
    )


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("redis://127.0.0.1:6379", "Start one with `runnel server`, or"),
        ("redis://localhost:7000", "Start one with `runnel server --redis-url redis://localhost:7"),
        ("unix:///tmp/x.sock", "Start one with `runnel server --redis-url unix:///tmp/x.sock`, or"),
        ("redis://u:secret@127.0.0.1:7", "Start one with `runnel server`, or"),
        ("redis://10.0.0.1:6379", "See that it runs and can be reached from here, or"),
        ("redis+cluster://127.0.0.1:7", "See that it runs and can be reached from here, or"),
    ],
)
def test_only_here_a_server_can_be_started(url: str, start: str) -> None:
    told = str(translate(OSError("no route"), url))
    assert start in told
    assert "secret" not in told


async def test_a_good_server_says_what_it_is(server: Server) -> None:
    async with connect(server.url) as client:
        info = await check_server(client, server.url)
    assert info.kind == server.binary.kind
    assert info.version == ".".join(map(str, server.binary.version))
    assert (info.mode, info.warnings) == ("standalone", ())


async def test_a_cluster_node_says_that_it_is_one(cluster: Redis, cluster_url: str) -> None:
    assert (await check_server(cluster, cluster_url)).mode == "cluster"


@pytest.mark.parametrize(
    ("password", "problem"),
    [("", "wants a login"), (":wrong@", "refuses the login"), ("nobody:right@", "refuses")],
)
async def test_a_missing_or_wrong_login_is_told(password: str, problem: str) -> None:
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
    assert "read-only replica" in str(translate(refused.value, replica.url))


async def test_a_user_who_may_not_ask_gets_a_warning(server: Server) -> None:
    async with connect(server.url) as client:
        may = ["+ping", "+eval"]
        await client.acl_setuser("half", enabled=True, nopass=True, commands=may)
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
        assert "does not permit what Runnel needs" in str(translate(error, url))


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


async def test_a_full_server_is_told_with_the_fix(server: Server) -> None:
    async with connect(server.url) as client:
        await client.config_set("maxmemory", 1)
        with pytest.raises(RedisError) as refused:
            await client.xadd("log", {"a": "b"})
    assert "raise it" in str(translate(refused.value, server.url))


async def test_a_server_without_free_connections_is_told_with_the_fix(server: Server) -> None:
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
        # 1 ms a key, and a look at its clients after every 1,024 bytes of the file.
        slow = {"key_load_delay": "1000", "loading_process_events_interval_bytes": "1024"}
        server.options.update(slow)
        server.start(wait=False)
        await asyncio.to_thread(server.wait_until_it_listens)
        async with connect(server.url) as redis:
            with pytest.raises(ServerError, match="still loading"):
                await check_server(redis, server.url, loading_timeout=0)
            assert (await check_server(redis, server.url)).mode == "standalone"
            assert await redis.dbsize() == 1000


@pytest.mark.parametrize(
    ("info", "problem"),
    [
        ({"redis_version": "6.2.14"}, "redis 6.2.14, which is too old"),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, "valkey 7.1.9"),
        ({"redis_version": "255"}, "too old"),
        ({}, "too old"),
        ({"redis_version": "7.2.0", "redis_mode": "sentinel"}, "Sentinel"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_own_account(
    info: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ServerError, match=problem):
        _judge(info, "Redis")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ResponseError("MISCONF Redis is configured to save RDB snapshots"), "cannot save to disk"),
        (ResponseError("ERR something"), "says: ERR something"),
        (OSError("no route"), "No Redis at"),
    ],
)
def test_other_errors_are_told_in_a_sentence(error: Exception, problem: str) -> None:
    assert problem in str(translate(error, "redis://localhost"))


def test_what_is_no_error_of_redis_is_left_alone() -> None:
    assert translate(ValueError("mine"), "redis://localhost") is None
