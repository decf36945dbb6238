"""Scripts, plain commands, inspection and administration over the masters of a Redis Cluster."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from redis.crc import key_slot
from redis.exceptions import ConnectionError, RedisError
from redis.exceptions import ResponseError as Refused

from runnel import App, Events, Record, keys, protocol
from runnel.connection.cluster import Cluster
from runnel.connection.connect import connect
from runnel.connection.deployment import of
from runnel.connection.explain import explain_redis_error
from runnel.connection.redis_client import Client
from runnel.embedded.binary import Binary
from runnel.errors import Fenced, ServerError
from runnel.operations import admin, inspection
from runnel.operations.registry import announce_processor
from runnel.operations.removing import remove
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from tests.deployments.steps import (
    append,
    cancelled_close,
    claimed,
    commit,
    nobody_named,
    numbers,
    ready,
    slot,
    spread,
    until_answered,
)
from tests.fleet import ClusterFleet, Migration, ask, until
from tests.servers import Server, free_port


async def test_a_good_cluster_says_what_it_is(fleet: ClusterFleet, binary: Binary) -> None:
    async with connect(fleet.url) as client:
        info = await check_server(client, fleet.url)
    assert (info.kind, info.mode, info.warnings) == (binary.kind, "cluster", ())
    assert info.version == ".".join(map(str, binary.version))


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


@pytest.mark.fault(27)
async def test_a_script_that_one_master_lacks_is_loaded_there(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    await clustered.load()
    ask(fleet.masters[1], "SCRIPT FLUSH")
    ask(fleet.masters[1], "CONFIG RESETSTAT")
    partitions = spread(app_name)
    replies = await clustered.call_all([append(each, 1) for each in partitions])
    assert all(protocol.read_append(each).applied for each in replies)
    stats = ask(fleet.masters[1], "INFO", "commandstats")
    assert "cmdstat_script|load:calls=1," in stats
    assert "cmdstat_evalsha:calls=2," in stats


class Item(Record):
    key: str


def declare(name: str, url: str) -> App:
    app = App(name, redis_url=url)
    items = app.stream("items", record=Item, partition_by="key", partition_count=6)

    @app.processor(items)
    async def worker(events: Events[Item]) -> None:
        async for _ in events:
            pass

    return app


async def test_records_are_sent_inspected_and_administered_on_all_masters(
    fleet: ClusterFleet, clustered: Scripts, app_name: str
) -> None:
    app = declare(app_name, fleet.url)
    stream, processor = app.streams["items"], app.processors["worker"]
    await announce_processor(clustered, processor)
    await admin.add(clustered, processor)
    sent = await stream.send(*(Item(key=str(number)) for number in range(60)))
    await app.close()
    assert {each.partition for each in sent} == set(range(6))
    masters = {clustered.deployment.node_of(stream.spec.prefix(p)) for p in range(6)}
    assert len(masters) == 3

    async def figures() -> dict[str, int]:
        server = await check_server(clustered.client, fleet.url)
        seen = await inspection.inspect(clustered.client, server, app_name)
        assert seen["server"]["mode"] == "cluster"
        (one,), (only,) = seen["processors"], seen["streams"]
        states = [row["state"] for row in one["partitions"]]
        return {
            "lag": one["lag_events"],
            "length": only["length"],
            "paused": states.count("paused"),
        }

    assert await figures() == {"lag": 60, "length": 60, "paused": 0}
    assert await admin.pause(clustered, processor) == 6
    assert (await figures())["paused"] == 6
    assert await admin.resume(clustered, processor, list(range(6))) == 6
    last = sent[-1]
    await admin.reset(clustered, processor, "$")
    assert await figures() == {"lag": 0, "length": 60, "paused": 0}
    checkpoints = await admin.reset(clustered, processor, last.id)
    assert len(checkpoints) == 6
    await remove(clustered, processor)
    assert await admin.delete_stream(clustered, stream.spec) == 60
    assert await clustered.client.hgetall(keys.streams(app_name)) == {}


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
