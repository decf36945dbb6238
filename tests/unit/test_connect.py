"""A URL decides which kind of client is built; none of them repeats a command by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis.asyncio import Connection, SSLConnection

from runnel.connection.cluster_client import AnyNode, AnyNodeTLS, ClusterClient
from runnel.connection.connect import connect, connect_sync
from runnel.connection.redis_client import Client
from runnel.connection.sentinel import SentinelClient
from runnel.errors import ConfigError


def pools(client: Client) -> Iterator[Any]:
    """The pool of a client, and those of the nodes and sentinels that it asks."""
    pool: Any = client.connection_pool
    yield pool
    if isinstance(client, ClusterClient):
        yield client.deployment._client(("h", 1)).connection_pool
    if isinstance(client, SentinelClient):
        yield from (each.connection_pool for each in pool.sentinel_manager.sentinels)


@pytest.mark.parametrize(
    ("url", "kind", "connection"),
    [
        ("redis://h", Client, Connection),
        ("rediss://h", Client, SSLConnection),
        ("redis+cluster://h,i", ClusterClient, AnyNode),
        ("rediss+cluster://h,i", ClusterClient, AnyNodeTLS),
        ("redis+sentinel://h,i/name", SentinelClient, None),
        ("rediss+sentinel://h,i/name", SentinelClient, None),
    ],
)
async def test_the_url_decides_which_client_is_built_and_none_repeats_a_command(
    url: str, kind: type[Client], connection: type[Connection] | None
) -> None:
    async with connect(url, 7.0, client_name="me") as client:
        assert type(client) is kind
        assert connection in (None, client.connection_pool.connection_class)
        for pool in pools(client):
            made = pool.make_connection()
            # Given to redis-py, whose defaults change between its versions.
            assert pool.connection_kwargs["retry"]._retries == made.retry._retries == 0
            assert made.retry_on_error == []
            assert (made.client_name, made.encoder.decode_responses) == ("me", False)
            assert isinstance(made, SSLConnection) == url.startswith("rediss")


async def test_sentinels_get_their_own_login_and_the_primary_that_of_the_url() -> None:
    url = "redis+sentinel://user:pass@h,i/name/3?sentinel_username=asker&sentinel_password=open"
    async with connect(url) as client:
        primary, *sentinels = (pool.connection_kwargs for pool in pools(client))
    assert (primary["username"], primary["password"], primary["db"]) == ("user", "pass", 3)
    assert [(each["host"], each["username"], each["password"]) for each in sentinels] == [
        ("h", "asker", "open"),
        ("i", "asker", "open"),
    ]


@pytest.mark.parametrize("url", ["redis+cluster://h", "redis+sentinel://h/m"])
def test_a_client_for_threads_is_for_one_server(url: str) -> None:
    with pytest.raises(ConfigError, match="more than one server"):
        connect_sync(url)
