"""Plain commands and pub/sub reach the right node of a cluster, and a closed client leaves none
connected."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from redis.exceptions import ResponseError

from runnel import keys, protocol
from runnel.connection.connect import connect
from runnel.connection.deployment import of
from runnel.connection.redis_client import Client
from runnel.protocol.scripts import Scripts
from tests.deployments.steps import (
    cancelled_close,
    nobody_named,
    spread,
)
from tests.fleet import ClusterFleet
from tests.nodes import until


async def test_the_wake_up_of_a_script_is_heard_at_every_node(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    group = keys.group(app_name, "s", "p")
    members = itertools.count()

    async def somebody_joins() -> None:
        times, member = (60_000, 60_000, 0), (f"m{next(members)}", "incarnation", "")
        await clustered.call(protocol.sync(group, 64, times, member, 1, "stay", (), ()))

    async def is_heard(client: Client) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(keys.wake(group))
            assert (await pubsub.get_message(timeout=5) or {})["type"] == "subscribe"
            await somebody_joins()
            assert (await pubsub.get_message(timeout=5) or {})["type"] == "message"

    await somebody_joins()
    for server in fleet.servers:
        async with connect(server.url) as client:
            await is_heard(client)
    await is_heard(clustered.client)


async def test_plain_commands_go_to_one_node_or_are_refused(clustered: Scripts) -> None:
    client = clustered.client
    assert await client.ping()
    assert len(await client.time()) == 2
    with pytest.raises(TypeError, match="FLUSHALL concerns no one node"):
        await client.flushall()
    with pytest.raises(TypeError, match="XREAD concerns no one node"):
        await client.xread({"a": "0"})
    with pytest.raises(TypeError, match="no pipeline"):
        client.pipeline()


async def test_a_command_with_a_key_goes_to_the_node_of_its_slot(
    clustered: Scripts, app_name: str
) -> None:
    client = clustered.client
    names = [partition.log for partition in spread(app_name)]
    for number, name in enumerate(names):
        assert await client.hset(name, "field", number) == 1
        assert await client.hgetall(name) == {b"field": b"%d" % number}
        assert await client.eval("return KEYS[1]", 1, name) == name.encode()
    deployment = clustered.deployment
    held = [await node.dbsize() for node in await deployment.primaries()]
    assert all(held), "each master has one of them"
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await client.get(names[0])


@pytest.mark.parametrize("steps", range(1, 6))
async def test_a_client_that_is_cancelled_while_it_closes_leaves_no_node_connected(
    fleet: ClusterFleet, steps: int
) -> None:
    client = connect(fleet.url, client_name="closing")
    await client.ping()
    for node in await of(client).primaries():
        await node.ping()
    await cancelled_close(client, steps)
    for each in fleet.masters:
        await asyncio.to_thread(until, each, nobody_named("closing"))
