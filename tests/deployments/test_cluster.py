"""Scripts run on the masters of a Redis Cluster, also while slots move and masters are lost."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from redis.crc import key_slot
from redis.exceptions import ConnectionError, TimeoutError
from redis.exceptions import ResponseError as Refused

from runnel import keys, protocol
from runnel.connection.cluster import Cluster
from runnel.connection.connect import connect
from runnel.connection.deployment import of
from runnel.embedded.binary import Binary
from runnel.errors import Fenced
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from tests.deployments.steps import (
    append,
    claimed,
    commit,
    numbers,
    ready,
    slot,
    spread,
    until_answered,
)
from tests.fleet import ClusterFleet, Migration
from tests.nodes import ask, catches_up


async def test_an_event_goes_from_append_to_checkpoint_on_each_master(
    clustered: Scripts, app_name: str
) -> None:
    partitions = spread(app_name)
    registered = await clustered.call_all(
        [protocol.register(each, protocol.StreamContract(1, "xxh64"), "0") for each in partitions]
    )
    assert not [each for each in registered if isinstance(each, Exception)]
    sent = [
        protocol.read_append(reply)
        for reply in await clustered.call_all([append(each, 1) for each in partitions])
    ]
    tokens = [await claimed(clustered, each) for each in partitions]
    commits = [
        commit(partition, token, "0-0", appended.ids[0])
        for partition, token, appended in zip(partitions, tokens, sent, strict=True)
    ]
    replies = await clustered.call_all(commits)
    assert [protocol.read_commit(each).applied for each in replies] == [True] * 3
    replies = await clustered.call_all(commits)
    assert [protocol.read_commit(each).applied for each in replies] == [False] * 3
    assert len({clustered.deployment.node_of(partition.prefix) for partition in partitions}) == 3


async def test_outcomes_keep_their_order_and_a_refusal_is_that_of_its_call_alone(
    clustered: Scripts, app_name: str
) -> None:
    partitions = spread(app_name)
    for partition in partitions:
        await ready(clustered, partition)
    sleeper = await claimed(clustered, partitions[1])
    await claimed(clustered, partitions[1], grant=2)
    calls = [
        append(partitions[2], 1),
        commit(partitions[1], sleeper, "0-0", "0-0"),
        append(partitions[0], 1),
    ]
    first, second, third = await clustered.call_all(calls)
    assert protocol.read_append(first).applied
    assert isinstance(second, Fenced)
    assert protocol.read_append(third).applied


async def test_a_client_of_ones_own_leads_to_the_same_node_by_another_connection(
    clustered: Scripts, app_name: str
) -> None:
    cluster = clustered.deployment
    await cluster.refresh()
    for partition in spread(app_name):
        shared = cluster.client_for(partition.log)
        assert cluster.client_for(partition.log) is shared
        async with cluster.own_client_for(partition.log) as own:
            numbers = [await each.roundtrip([("CLIENT", "ID")]) for each in (own, shared)]
            ports = [(await each.info("server"))["tcp_port"] for each in (own, shared)]
        assert numbers[0] != numbers[1]
        assert ports[0] == ports[1]
    assert len({cluster.node_of(each.log) for each in spread(app_name)}) == 3


async def test_one_read_can_name_keys_of_one_slot_only(clustered: Scripts, app_name: str) -> None:
    deployment = clustered.deployment
    await deployment.refresh()
    logs = [keys.log(keys.partition(app_name, "s", number, "s")) for number in range(30)]
    together = [log for log in logs if deployment.node_of(log) == deployment.node_of(logs[0])]
    assert len(together) > 1
    (refusal,) = await deployment.client_for(together[0]).roundtrip(
        [("XREAD", "STREAMS", *together, *["0"] * len(together))]
    )
    assert isinstance(refusal, Refused)
    assert "same slot" in str(refusal)


@pytest.mark.fault(38)
async def test_a_moved_slot_is_followed_under_load(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    partitions = spread(app_name)
    moving = partitions[0]
    await clustered.load()
    done, there = asyncio.Event(), asyncio.Event()

    async def send() -> int:
        number = 0
        while not done.is_set() or number % 50:
            number += 1
            for reply in await clustered.call_all([append(each, number) for each in partitions]):
                assert protocol.read_append(reply).applied
            if number == 50:
                there.set()
        return number

    sending = asyncio.create_task(send())
    await there.wait()
    home = fleet.owner(slot(moving))
    await asyncio.to_thread(fleet.migrate, slot(moving), fleet.masters[1])
    await asyncio.to_thread(fleet.migrate, slot(moving), home)
    done.set()
    count = await sending
    for partition in partitions:
        assert await numbers(clustered, partition) == list(range(1, count + 1))
    assert moves(fleet, "MOVED") > 0


def moves(fleet: ClusterFleet, word: str) -> int:
    """How often the nodes have answered with an error."""
    count = 0
    for server in fleet.servers:
        for line in str(ask(server, "INFO", "errorstats")).splitlines():
            if line.startswith(f"errorstat_{word}:"):
                count += int(line.partition("=")[2])
    return count


@pytest.mark.fault(38)
async def test_a_call_waits_while_its_keys_are_on_two_nodes(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    (partition, *_) = spread(app_name)
    await clustered.call(append(partition, 1))
    home = fleet.owner(slot(partition))
    migration = Migration(fleet, slot(partition), fleet.masters[2])
    migration.begin()
    migration.move(partition.meta)
    before = moves(fleet, "TRYAGAIN")
    appending = asyncio.create_task(until_answered(clustered, append(partition, 2)))
    while moves(fleet, "TRYAGAIN") == before:
        await clustered.client.ping()
    assert not appending.done()
    migration.move()
    migration.end()
    assert (await appending).applied
    assert await numbers(clustered, partition) == [1, 2]
    await asyncio.to_thread(fleet.migrate, slot(partition), home)


@pytest.mark.fault(38)
async def test_a_group_goes_on_while_its_slot_is_on_its_way(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    group = keys.group(app_name, "s", "p")
    numbers = itertools.count(1)

    async def heartbeat() -> None:
        member = ("m", "incarnation", "")
        call = protocol.sync(group, 1, (60_000, 60_000, 0), member, next(numbers), "stay", (), ())
        await clustered.call(call)

    await heartbeat()
    number = key_slot(keys.plan(group).encode())
    home = fleet.owner(number)
    migration = Migration(fleet, number, next(each for each in fleet.masters if each != home))
    before = moves(fleet, "TRYAGAIN")
    migration.begin()
    await heartbeat()
    migration.move()
    await heartbeat()
    migration.end()
    await heartbeat()
    assert moves(fleet, "TRYAGAIN") == before
    await asyncio.to_thread(fleet.migrate, number, home)


async def test_a_call_that_cannot_run_is_given_up_as_one_to_a_server_that_is_away(
    fleet: ClusterFleet, clustered: Scripts, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.connection.cluster.PAUSES", (0.0, 0.01))
    near, far, _ = spread(app_name)
    await clustered.call(append(near, 1))
    home = fleet.owner(slot(near))
    migration = Migration(fleet, slot(near), fleet.masters[2])
    migration.begin()
    migration.move(keys.meta(near.prefix))
    first, second = await clustered.call_all([append(near, 2), append(far, 1)])
    assert isinstance(first, ConnectionError)
    assert "refused it each time" in str(first)
    assert protocol.read_append(second).applied
    migration.move()
    migration.end()
    assert protocol.read_append(await clustered.call(append(near, 2))).applied
    await asyncio.to_thread(fleet.migrate, slot(near), home)


async def test_a_call_is_sent_on_to_a_node_that_is_about_to_take_over_and_lacks_the_script(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    (partition, *_) = spread(app_name)
    await clustered.call(append(partition, 1))
    home, target = fleet.owner(slot(partition)), fleet.masters[1]
    migration = Migration(fleet, slot(partition), target)
    migration.begin()
    migration.move()
    ask(target, "SCRIPT FLUSH")
    before = moves(fleet, "ASK")
    assert protocol.read_append(await clustered.call(append(partition, 2))).applied
    assert moves(fleet, "ASK") > before
    migration.end()
    assert await numbers(clustered, partition) == [1, 2]
    await asyncio.to_thread(fleet.migrate, slot(partition), home)


async def test_a_cluster_of_one_node_can_be_used_by_either_url(cluster_url: str) -> None:
    async with connect(cluster_url.replace("redis://", "redis+cluster://")[:-2]) as client:
        assert isinstance(of(client), Cluster)
        assert (await check_server(client, cluster_url)).mode == "cluster"
        assert await client.sadd("one", "two") == 1


@pytest.mark.fault(39)
async def test_calls_to_a_lost_master_fail_alone_until_its_replica_has_taken_over(
    binary: Binary, app_name: str
) -> None:
    with ClusterFleet(binary) as fleet:
        async with connect(fleet.url, 0.3) as client:
            scripts = Scripts(client)
            partitions = spread(app_name)
            for partition in partitions:
                await ready(scripts, partition)
            replies = await scripts.call_all([append(each, 1) for each in partitions])
            sent = protocol.read_append(replies[0])
            token = await claimed(scripts, partitions[0])
            for number, lose in enumerate(("kill", "pause")):
                lost, replica = fleet.masters[number], fleet.replicas[number]
                assert fleet.owner(slot(partitions[number])) is lost
                catches_up(replica, lost)
                getattr(lost, lose)()
                outcomes = await scripts.call_all([append(each, 2 + number) for each in partitions])
                for at, outcome in enumerate(outcomes):
                    assert isinstance(outcome, (ConnectionError, TimeoutError)) == (at == number)
                again = await until_answered(scripts, append(partitions[number], 2 + number))
                assert again.applied
                assert fleet.owner(slot(partitions[number]), replica) is replica
            fleet.masters[1].resume()
            committed = await scripts.call(commit(partitions[0], token, "0-0", sent.ids[0]))
            assert protocol.read_commit(committed).applied
            for partition in partitions:
                assert await numbers(scripts, partition) == [1, 2, 3]
