"""What is emitted to other slots of a cluster arrives once and in order, whoever dies or moves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from runnel import keys
from runnel.connection.connect import connect
from runnel.embedded.binary import Binary
from tests.deployments import relay
from tests.fleet import ClusterFleet
from tests.nodes import ask, is_linked
from tests.nodes import until as until_server
from tests.primaries import on_each
from tests.servers import Server
from tests.worker.workers import Workers, until


@pytest.fixture
async def redis(fleet: ClusterFleet) -> AsyncIterator[Redis]:
    """A client of the cluster, which is empty."""
    async with connect(fleet.url) as client:
        await on_each(client, "FLUSHALL")
        yield client


@pytest.fixture
async def sending(fleet: ClusterFleet) -> AsyncIterator[None]:
    """The app of this process sends to the cluster."""
    relay.app.configure(redis_url=fleet.url)
    yield
    await relay.app.close()


@pytest.fixture
def workers(fleet: ClusterFleet, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes on the cluster."""
    found = Workers(fleet.url, tmp_path, "tests.deployments.relay:app")
    yield found
    found.close()


@pytest.mark.fault(1, 4, 38)
@pytest.mark.usefixtures("sending")
async def test_workers_die_and_hang_while_slots_of_source_and_target_move(
    fleet: ClusterFleet, redis: Redis, workers: Workers
) -> None:
    sources = [relay.items.spec.prefix(p) for p in range(6)]
    targets = [relay.copies.spec.prefix(p) for p in range(5)]
    assert len({keys.scope(each)[1:] for each in (*sources, *targets)}) == 11
    for _ in range(3):
        workers.start()
    await until(lambda: relay.shared(redis, fleet.url, 3), "three workers share")
    done = asyncio.Event()
    sending = asyncio.create_task(relay.send(done))
    moving = [slot_of(each) for each in (sources[0], targets[0])]
    homes = [fleet.owner(each) for each in moving]
    for at, (number, home) in enumerate(zip(moving, homes, strict=True)):
        workers.processes[at].kill()
        workers.start()
        there = next(each for each in fleet.masters if each is not home)
        await asyncio.to_thread(fleet.migrate, number, there)
    sleeper = workers.processes[2]
    sleeper.send_signal(signal.SIGSTOP)
    await until(lambda: relay.shared(redis, fleet.url, 2), "its session has ended")
    sleeper.send_signal(signal.SIGCONT)
    await until(lambda: relay.shared(redis, fleet.url, 3), "it is back")
    for number, home in zip(moving, homes, strict=True):
        await asyncio.to_thread(fleet.migrate, number, home)
    done.set()
    count = await sending
    await until(lambda: relay.complete(redis, count), "all are copied", 60)
    await relay.check(redis, count)


def is_master(server: Server) -> bool:
    """Has it taken over?"""
    return "role:master" in ask(server, "INFO", "replication")


def slot_of(prefix: str) -> int:
    """The slot of a partition."""
    return key_slot(keys.log(prefix).encode())


@pytest.mark.fault(39)
async def test_a_master_is_lost_and_what_was_emitted_still_arrives_once(
    binary: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a replica that has what was acknowledged."""
    monkeypatch.setenv("DURABILITY", "replica")
    with ClusterFleet(binary) as fleet:
        workers = Workers(fleet.url, tmp_path, "tests.deployments.relay:app")
        relay.app.configure(redis_url=fleet.url, durability="replica")
        try:
            async with connect(fleet.url) as redis:
                workers.start()
                workers.start()
                await until(lambda: relay.shared(redis, fleet.url, 2), "two workers share")
                done = asyncio.Event()
                sending = asyncio.create_task(relay.send(done))
                await until(lambda: relay.some(redis), "some arrive")
                lost, replica = fleet.masters[0], fleet.replicas[0]
                lost.kill()
                await asyncio.to_thread(until_server, replica, is_master)
                await asyncio.to_thread(lost.start)
                await asyncio.to_thread(until_server, lost, is_linked)
                done.set()
                count = await sending
                await until(lambda: relay.complete(redis, count), "all are copied", 90)
                await relay.check(redis, count)
        finally:
            workers.close()
            await relay.app.close()
            relay.app.configure(durability="primary")
