"""A primary behind sentinels is found, and left once they replace it; no call runs twice."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ResponseError

from runnel import App, Events, Record, protocol
from runnel.cli.following import follow
from runnel.connection.connect import connect
from runnel.connection.redis_client import Client
from runnel.connection.sentinel import SentinelClient
from runnel.embedded.binary import Binary
from runnel.errors import ServerUnreachable
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.deployments.steps import (
    append,
    cancelled_close,
    claimed,
    commit,
    nobody_named,
    numbers,
    ready,
    spread,
    until_answered,
)
from tests.fleet import SentinelFleet
from tests.load import Load
from tests.nodes import ask, catches_up, is_linked, until
from tests.servers import Server


class Item(Record):
    key: str
    number: int


async def test_a_worker_runs_behind_sentinels(sentinels: SentinelFleet, app_name: str) -> None:
    app = App(app_name, redis_url=sentinels.url, rebalance_delay=0.0)
    stream = app.stream("items", record=Item, partition_by="key", partition_count=2)
    seen: list[int] = []

    @app.processor(stream)
    async def worker(events: Events[Item]) -> None:
        async for item in events.records():
            seen.append(item.number)  # noqa: PERF401

    await stream.send(*(Item(key="k", number=number) for number in range(5)))
    await Worker(app).run(burst=True)
    assert seen == [0, 1, 2, 3, 4]


async def test_the_database_of_the_url_is_that_of_the_primary(sentinels: SentinelFleet) -> None:
    async with connect(f"{sentinels.url}/3") as client:
        assert str((await client.client_info())["db"]) == "3"


async def test_a_name_that_the_sentinels_do_not_know_is_told(sentinels: SentinelFleet) -> None:
    url = sentinels.url.replace(sentinels.NAME, "nobody")
    async with connect(url) as client:
        with pytest.raises(
            ServerUnreachable, match=r"/nobody name no primary that is up \(3 of 3 ans"
        ):
            await check_server(client, url)


async def test_sentinels_that_do_not_answer_are_named(sentinels: SentinelFleet) -> None:
    url = sentinels.url.replace(sentinels.NAME, "nobody").replace("://", "://127.0.0.1:1,")
    async with connect(url) as client:
        with pytest.raises(
            ServerUnreachable, match=r"\(3 of 4 answer; 127\.0\.0\.1:1 does not\): "
        ):
            await check_server(client, url)


async def test_sentinels_that_are_away_are_skipped(sentinels: SentinelFleet) -> None:
    url = sentinels.url.replace("://", "://127.0.0.1:1,")
    async with connect(url) as client:
        assert await client.ping()


async def test_no_sentinel_is_forgotten_when_two_ask_at_a_time(sentinels: SentinelFleet) -> None:
    url = sentinels.url.replace("://", "://127.0.0.1:1,")
    async with connect(url) as client:
        pool: Any = client.connection_pool
        asked = pool.sentinel_manager
        known = set(asked.sentinels)
        assert len(known) == 4
        await asyncio.gather(*(asked.discover_master(sentinels.NAME) for _ in range(2)))
        assert set(asked.sentinels) == known


async def test_a_client_that_is_cancelled_while_it_closes_leaves_no_connection_open(
    sentinels: SentinelFleet,
) -> None:
    client = connect(sentinels.url, client_name="closing")
    await client.ping()
    assert any("name=closing" in ask(each, "CLIENT LIST") for each in sentinels.sentinels)
    await cancelled_close(client, 2)  # It has closed its own, and waits for that to be over.
    for each in sentinels.sentinels:
        await asyncio.to_thread(until, each, nobody_named("closing"))


async def test_a_client_that_closes_while_a_call_asks_sentinels_leaves_no_connection_open(
    sentinels: SentinelFleet,
) -> None:
    for steps in range(1, 40):
        client = connect(sentinels.url, client_name="closing")
        asking = asyncio.create_task(client.roundtrip([("PING",)]))
        for _ in range(steps):
            await asyncio.sleep(0)
        await client.aclose()
        await asyncio.wait([asking])
        assert asking.exception() is None or isinstance(asking.exception(), ConnectionError)
    for each in sentinels.servers:
        await asyncio.to_thread(until, each, nobody_named("closing"))


@pytest.mark.fault(16, 17)
async def test_a_primary_that_was_replaced_but_lives_is_left_before_it_finds_out(
    sentinels: SentinelFleet, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SentinelClient, "ASK_EVERY", 0.0)
    (partition, *_) = spread(app_name)
    async with connect(sentinels.url) as client:
        scripts = Scripts(client)
        await scripts.call(append(partition, 1))
        replaced = sentinels_lose(sentinels, "planned")
        while await port(client) == replaced.port:
            pass
        assert "role:master" in ask(replaced, "INFO", "replication")
        assert (await until_answered(scripts, append(partition, 2))).applied
        async with connect(sentinels.current().url) as new:
            assert await numbers(Scripts(new), partition) == [1, 2]
    whole_again(sentinels, replaced)


async def test_a_call_is_answered_once_by_the_primary_that_took_over_from_a_dead_one(
    sentinels: SentinelFleet, app_name: str
) -> None:
    (partition, *_) = spread(app_name)
    async with connect(sentinels.url) as client:
        scripts = Scripts(client)
        await ready(scripts, partition)
        token = await claimed(scripts, partition)
        sent = [protocol.read_append(await scripts.call(append(partition, n))) for n in (1, 2)]
        dead = sentinels_lose(sentinels, "kill")
        again = await until_answered(scripts, append(partition, 2))
        assert not again.applied
        assert (await until_answered(scripts, append(partition, 3))).applied
        committed = await scripts.call(commit(partition, token, "0-0", sent[0].ids[0]))
        assert protocol.read_commit(committed).applied
        assert await numbers(scripts, partition) == [1, 2, 3]
    dead.start()
    whole_again(sentinels, dead)


@pytest.mark.fault(13, 16)
@pytest.mark.parametrize(("lose", "bring_back"), [("kill", "start"), ("pause", "resume")])
async def test_nothing_acknowledged_is_missing_after_a_failover_under_load(
    binary: Binary, app_name: str, lose: str, bring_back: str
) -> None:
    # With a file. On a busy machine sentinels may find the new primary late and choose the old one
    # again, whatever it holds: come back empty, it would take everything with it.
    with SentinelFleet(binary, {"appendonly": "yes"}, replicas=1) as fleet:
        load = Load(app_name, fleet.url)
        async with load.running():
            await load.goes_on()
            primary = fleet.primary
            getattr(primary, lose)()
            await asyncio.to_thread(fleet.wait_until_replaced, primary)
            # Nothing counts until there is a replica again.
            await asyncio.to_thread(getattr(primary, bring_back))
            await load.goes_on()


async def test_events_are_followed_over_a_failover(
    sentinels: SentinelFleet, app_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App(app_name, redis_url=sentinels.url)
    items = app.stream("items", record=Item, partition_by="key", partition_count=2)
    async with connect(sentinels.url) as client:
        ends = {0: "0-0", 1: "0-0"}
        async with aclosing(follow(Scripts(client), items.spec, ends, sentinels.url)) as events:
            (sent,) = await items.send(Item(key="a", number=1))
            assert (await anext(events)).id == sent.id
            lost = sentinels_lose(sentinels, "kill")
            waiting = asyncio.ensure_future(anext(events))
            (sent,) = await items.send(Item(key="b", number=2))
            assert (await waiting).id == sent.id
    await app.close()
    said = capsys.readouterr().err
    assert said.startswith("waiting: ")
    assert "Redis answers again, after " in said
    lost.start()
    whole_again(sentinels, lost)


async def port(client: Client) -> int:
    """The port of the server that answers."""
    (info,) = await client.roundtrip([("INFO", "server")])
    return int(info.partition(b"tcp_port:")[2].split()[0])


def sentinels_lose(sentinels: SentinelFleet, how: str) -> Server:
    """Lose the primary when its replicas have all that it has, and wait until there is another."""
    primary = sentinels.current()
    for replica in sentinels.followers(primary):
        until(replica, is_linked)
        catches_up(replica, primary)
    if how == "kill":
        primary.kill()

    def is_replaced(sentinel: Server) -> bool:
        if how == "planned" and sentinels.current() is primary:
            with contextlib.suppress(ResponseError):  # One is under way.
                ask(sentinel, "SENTINEL FAILOVER", sentinels.NAME)
        return sentinels.current() is not primary

    until(sentinels.sentinels[0], is_replaced)
    return primary


def whole_again(sentinels: SentinelFleet, former: Server) -> None:
    """Wait until the former primary follows the new one, and all sentinels know."""
    until(former, is_linked)
    for sentinel in sentinels.sentinels:
        until(sentinel, sentinels.knows_all)
