"""What an acknowledged event survives: a primary is killed for real while its replica lags."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from redis.exceptions import ResponseError, TimeoutError

from runnel import App, Events, Record
from runnel.connection.connect import connect
from runnel.connection.durability import AckRequirement
from runnel.core.partition import PartitionState
from runnel.core.reading import UNCOMMITTED
from runnel.embedded.binary import Binary
from runnel.errors import ServerError
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.deployments.losses import Losses
from tests.deployments.steps import append, spread
from tests.fleet import SentinelFleet
from tests.nodes import ask, catches_up, is_linked
from tests.nodes import until as until_server
from tests.servers import Server, can_fsync
from tests.valve import Valve
from tests.worker.workers import until


class Item(Record):
    number: int


class Pair:
    """A primary and a replica that can be cut off from it."""

    def __init__(self, binary: Binary) -> None:
        # With an append-only file that is synced each time. With everysec a server whose disk is
        # busy holds its writes back for up to two seconds, and loses them if it is killed.
        options = {"repl_diskless_sync_delay": "0"}
        self.primary = Server(binary, **options).start()
        self.replica = Server(binary, **options).start()
        self.link = Valve(self.primary.port)
        ask(self.replica, "REPLICAOF", "127.0.0.1", self.link.port)
        until_server(self.replica, is_linked)

    def promote(self) -> None:
        """Lose the primary; the replica takes over with what it has."""
        self.primary.kill()
        ask(self.replica, "REPLICAOF", "NO", "ONE")

    def come_back(self) -> None:
        """The primary is killed, and started again with what is on its disk."""
        self.primary.restart()

    def close(self) -> None:
        self.link.close()
        self.primary.close()
        self.replica.close()


@pytest.fixture
def pair(binary: Binary) -> Iterator[Pair]:
    found = Pair(binary)
    yield found
    found.close()


class Shop:
    """An app whose sends and commits are as durable as `durability` says."""

    def __init__(self, name: str, url: str, durability: str) -> None:
        self.app = App(
            name, redis_url=url, durability=durability, delivery_timeout=0.0, shutdown_timeout=0.2
        )
        self.items = self.app.stream("items", record=Item, partition_by="number", partition_count=1)
        self.acknowledged: list[int] = []
        self.seen: list[int] = []
        self.committed = 0

        @self.app.processor(self.items, name="work")
        async def work(events: Events[Item]) -> None:
            async for _ in events:
                await events.commit()
                self.committed += 1

    async def send(self, *numbers: int) -> None:
        """One after the other, noting which are acknowledged."""
        for number in numbers:
            try:
                await self.items.send(Item(number=number))
                self.acknowledged.append(number)
            except TimeoutError:
                break

    async def survived(self, url: str) -> tuple[int, int]:
        """How many events and how many commits another server has."""
        partition = self.app.processors["work"].keys(0)
        async with connect(url) as client:
            state = await client.hget(partition.of_script()[2], "processed")
            return await client.xlen(partition.of_script()[0]), int(state or 0)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker, stopped in the end, whatever has become of its server."""
        worker = Worker(self.app)
        run = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            worker.stop.set()
            await asyncio.gather(run, return_exceptions=True)
            await self.app.close()


@pytest.fixture(params=["primary", "replica", "fsync"])
def durability(request: pytest.FixtureRequest) -> str:
    """Each durability that the server knows."""
    return str(request.param)


@pytest.mark.fault(13)
async def test_what_an_acknowledged_event_survives_when_its_primary_is_lost(
    binary: Binary, pair: Pair, app_name: str, durability: str, losses: Losses
) -> None:
    shop = Shop(app_name, pair.primary.url, durability)
    async with shop.working():
        await shop.send(*range(10))
        await until(lambda: shop.committed == 10, "all are committed")
        await asyncio.to_thread(catches_up, pair.replica, pair.primary)
        pair.link.shut()
        await shop.send(*range(10, 20))
        if durability != "replica":
            await until(lambda: shop.committed == 20, "all are committed, as far as it knows")
        pair.promote()
        entries, commits = await shop.survived(pair.replica.url)
    sent, commits_acknowledged = len(shop.acknowledged), shop.committed
    fault = "the primary is lost, its replica is behind"
    losses.note((str(binary), durability, fault), (sent, entries), (commits_acknowledged, commits))
    assert (sent, commits_acknowledged) == ((10, 10) if durability == "replica" else (20, 20))
    assert (entries, commits) == (10, 10)


@pytest.mark.fault(11)
async def test_what_an_acknowledged_event_survives_when_its_server_is_killed_and_comes_back(
    binary: Binary, pair: Pair, app_name: str, durability: str, losses: Losses
) -> None:
    shop = Shop(app_name, pair.primary.url, durability)
    async with shop.working():
        await shop.send(*range(20))
        await until(lambda: shop.committed == 20, "all are committed")
        pair.come_back()
        entries, commits = await shop.survived(pair.primary.url)
    fault = "the server is killed and comes back"
    losses.note((str(binary), durability, fault), (20, entries), (20, commits))
    assert (entries, commits) == (20, 20)


async def test_a_commit_waits_for_a_replica_that_comes_back(pair: Pair, app_name: str) -> None:
    shop = Shop(app_name, pair.primary.url, "replica")
    shop.app.configure(delivery_timeout=30.0)
    worker = Worker(shop.app)
    run = asyncio.create_task(worker.run())
    await shop.send(0)
    await until(lambda: shop.committed == 1, "it is committed")
    pair.link.shut()
    sending = asyncio.create_task(shop.send(1))
    async with connect(pair.primary.url) as client:
        partition = shop.app.processors["work"].keys(0)
        await until(
            lambda: _processed(client, partition.of_script()[2]), "the primary has the commit"
        )
    assert (shop.committed, shop.acknowledged) == (1, [0])
    pair.link.open()
    await sending
    await until(lambda: shop.committed == 2, "it is committed")
    worker.stop.set()
    await run
    await shop.app.close()


async def _processed(client: object, key: str) -> bool:
    return int(await client.hget(key, "processed") or 0) == 2  # type: ignore[attr-defined]


async def test_what_a_crash_repeats_is_bounded_while_commits_are_not_confirmed(
    pair: Pair, app_name: str
) -> None:
    shop = Shop(app_name, pair.primary.url, "replica")
    states: list[PartitionState] = []

    async def careless(events: Events[Item]) -> None:
        states.append(events._queue.state)
        async for item in events.records():
            shop.seen.append(item.number)

    shop.app.processor(shop.items, name="careless", prefetch=4)(careless)
    worker = Worker(shop.app, processors=["careless"])
    run = asyncio.create_task(worker.run())
    await shop.send(0)
    await until(lambda: states and states[-1].processed == 1, "it runs")
    pair.link.shut()
    hasty = Shop(app_name, pair.primary.url, "primary")
    await hasty.send(*range(1, 200))

    def at_rest() -> bool:
        return len(shop.seen) > 1 and not states[-1].buffer and states[-1].next_read(4) is None

    await until(at_rest, "it waits for its commits")
    assert len(shop.seen) <= 1 + 4 * (UNCOMMITTED + 2)
    pair.link.open()
    await until(lambda: len(shop.seen) == 200, "it goes on")
    worker.stop.set()
    await run
    await shop.app.close()
    await hasty.app.close()


async def test_fsync_waits_for_the_disk_or_says_at_start_that_it_cannot(
    binary: Binary, app_name: str
) -> None:
    for durable in ("yes", "no"):
        with Server(binary, appendonly=durable) as server:
            shop = Shop(app_name, server.url, "fsync")
            worker = Worker(shop.app)
            if durable == "yes" and can_fsync(binary):
                await shop.send(1, 2)
                await worker.run(burst=True)
                assert shop.committed == 2
            else:
                with pytest.raises(ServerError, match="needs WAITAOF"):
                    await shop.send(1)
                with pytest.raises(ServerError, match="needs WAITAOF"):
                    await worker.run(burst=True)
            await shop.app.close()


async def test_behind_sentinels_no_other_primary_confirms_what_an_old_one_was_told(
    binary: Binary, app_name: str
) -> None:
    (partition,) = spread(app_name, 1)
    log, replica = partition.log, AckRequirement("replica")
    with SentinelFleet(binary, replicas=1) as fleet:
        async with connect(fleet.url) as client:
            scripts = Scripts(client)
            await scripts.call_all([append(partition, 1)], replica)
            new = fleet.replicas[0]
            await asyncio.to_thread(until_server, fleet.sentinels[0], _fails_over)
            await asyncio.to_thread(until_server, new, _is_primary)
            # The old primary still accepts it, but no worker will ever get it from there.
            outcome: object = TimeoutError()
            while isinstance(outcome, Exception):
                (outcome,) = await scripts.call_all([append(partition, 2)], replica)
            assert ask(new, "XLEN", log) == 2


def _fails_over(sentinel: Server) -> bool:
    """Has it begun? Not before the sentinel trusts the replica."""
    try:
        ask(sentinel, "SENTINEL FAILOVER", SentinelFleet.NAME)
    except ResponseError:
        return False
    return True


def _is_primary(server: Server) -> bool:
    return "role:master" in ask(server, "INFO", "replication")
