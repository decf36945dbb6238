"""What a server without room or free connections says becomes one sentence with the fix."""

from __future__ import annotations

import pytest
from redis.exceptions import RedisError

from runnel.connection.connect import connect
from runnel.connection.explain import explain_redis_error
from runnel.errors import ServerError
from runnel.preflight.server import check_server
from tests.servers import Server


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
