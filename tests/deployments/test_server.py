"""Clusters and sentinels are checked before use; what cannot be used is refused with the fix."""

from __future__ import annotations

import pytest
from redis.crc import key_slot
from redis.exceptions import RedisError

from runnel.connection.connect import connect
from runnel.connection.explain import explain_redis_error
from runnel.embedded.binary import Binary
from runnel.errors import ServerError
from runnel.preflight.server import check_server
from tests.fleet import ClusterFleet, SentinelFleet
from tests.nodes import ask
from tests.servers import Server, free_port


async def test_a_good_cluster_says_what_it_is(fleet: ClusterFleet, binary: Binary) -> None:
    async with connect(fleet.url) as client:
        info = await check_server(client, fleet.url)
    assert (info.kind, info.mode, info.warnings) == (binary.kind, "cluster", ())
    assert info.version == ".".join(map(str, binary.version))


async def test_a_primary_behind_sentinels_says_what_it_is(
    sentinels: SentinelFleet, binary: Binary
) -> None:
    async with connect(sentinels.url) as client:
        info = await check_server(client, sentinels.url)
    assert (info.kind, info.mode, info.warnings) == (binary.kind, "sentinel", ())


async def test_one_node_of_several_is_refused_with_the_fix(fleet: ClusterFleet) -> None:
    url = fleet.masters[0].url
    async with connect(url) as client:
        with pytest.raises(ServerError, match=r"use redis\+cluster://"):
            await check_server(client, url)
        elsewhere = next(f"key{n}" for n in range(50) if key_slot(f"key{n}".encode()) > 10_000)
        with pytest.raises(RedisError) as moved:
            await client.get(elsewhere)
    assert "use redis+cluster://" in str(explain_redis_error(moved.value, url))


async def test_what_is_no_cluster_is_refused_with_the_fix(redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis+cluster://").removesuffix("/0")
    async with connect(url) as client:
        with pytest.raises(ServerError, match="is no cluster: use redis://"):
            await check_server(client, url)


async def test_a_cluster_with_free_slots_is_refused_with_the_fix() -> None:
    options = {"cluster_enabled": "yes", "cluster_port": str(free_port())}
    with Server(None, appendonly="no", **options) as server:
        ask(server, "CLUSTER ADDSLOTSRANGE", 1, 16383)
        url = server.url.replace("redis://", "redis+cluster://").removesuffix("/0")
        async with connect(url) as client:
            with pytest.raises(ServerError, match="only 16383 of its 16384 slots"):
                await check_server(client, url)


@pytest.mark.fault(29)
async def test_a_policy_that_evicts_is_found_on_any_master(fleet: ClusterFleet) -> None:
    ask(fleet.masters[2], "CONFIG SET", "maxmemory-policy", "allkeys-lru")
    try:
        async with connect(fleet.url) as client:
            (warning,) = (await check_server(client, fleet.url)).warnings
    finally:
        ask(fleet.masters[2], "CONFIG SET", "maxmemory-policy", "noeviction")
    assert "Set it to noeviction" in warning
