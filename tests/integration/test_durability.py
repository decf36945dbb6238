"""A call that no replica confirms, or of which a full server cannot tell, is not acknowledged."""

from __future__ import annotations

import pytest
from redis.exceptions import TimeoutError

from runnel import keys, protocol
from runnel.connection import durability
from runnel.connection.connect import connect
from runnel.connection.durability import AckRequirement, check_possible
from runnel.errors import ServerError
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from tests.servers import Server


async def test_a_full_server_cannot_tell_whether_a_replica_has_it(
    server: Server, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durability, "PATIENCE_MS", 1)
    partition = PartitionKeys(keys.partition(app_name, "orders", 0, "orders"), "printer")
    describe, required = protocol.describe(partition), AckRequirement("replica")
    async with connect(server.url) as client:
        scripts = Scripts(client)
        await client.config_set("maxmemory", 1)
        with pytest.raises(TimeoutError, match="no room to tell"):
            await scripts.call(describe, required)
        await client.config_set("maxmemory", 0)
        with pytest.raises(TimeoutError, match="no replica has it yet"):
            await scripts.call(describe, required)
        await client.config_set("maxmemory", 1)
        # The small write is there by now, so that the server can renew it.
        with pytest.raises(TimeoutError, match="no replica has it yet"):
            await scripts.call(describe, required)


async def test_fsync_needs_an_append_only_file() -> None:
    with Server(appendonly="no") as server:
        async with connect(server.url) as client:
            await check_possible([client], "replica")
            with pytest.raises(ServerError, match=r"needs WAITAOF.*appendonly yes"):
                await check_possible([client], "fsync")
