"""What a test has in place of connections: a read waits for events, a dead worker gets nothing."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ConnectionError

from runnel import protocol
from runnel.errors import Fenced
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.testing.in_memory import MemoryBackend, MemoryFeed, MemoryScripts
from runnel.testing.store import Store
from runnel.testing.virtual_time import VirtualTime
from runnel.worker.feeds import ReadBatch

NAMES = PartitionKeys("runnel:{app:s:0}:s", "work")
CONTRACT = StreamContract(1, "xxh64")
APPEND = protocol.append(NAMES.prefix, CONTRACT, 100, "refuse", "p", 1, [[b"f", b"v"]])
STALE = protocol.commit(NAMES, Token(9, "other"), CheckpointMove("0-0", "1-0", 1))
ATTEMPT = protocol.attempt(NAMES, Token(0, ""), "failure", "1-0", 1)


@pytest.fixture
def store() -> Store:
    made = Store(lambda: 5)
    made.register(NAMES)
    return made


@pytest.fixture
def backend(store: Store) -> MemoryBackend:
    return MemoryBackend(store, VirtualTime())


async def test_a_read_waits_for_an_event_and_for_the_drain(
    store: Store, backend: MemoryBackend
) -> None:
    feed = backend.feed("all")
    batches = [ReadBatch(10, [(NAMES.log, "0-0")])]
    reading = asyncio.create_task(feed.read(batches, [(NAMES.log, "0-0")], True, None))
    await asyncio.sleep(0)
    store.run(APPEND)
    backend.wake()
    await asyncio.sleep(0)
    assert not reading.done(), "nothing is read between two drains"
    assert await feed.read(batches, [], False, None) == ({}, [])
    backend.open = True
    backend.wake()
    assert await reading == ({NAMES.log: [[b"5-0", [b"f", b"v"]]]}, [False])


async def test_a_read_is_cut_short(backend: MemoryBackend) -> None:
    feed = backend.feed("all")
    reading = asyncio.create_task(feed.read([], [], True, None))
    await asyncio.sleep(0)
    await feed.cut_short()
    assert await reading is None
    await feed.close()
    backend.wake()


async def test_commits_are_held_and_reports_are_not(backend: MemoryBackend) -> None:
    backend.holds_commits = True
    committing = asyncio.create_task(backend.commit([STALE]))
    (refusal,) = await backend.commit([ATTEMPT])
    assert isinstance(refusal, Fenced)
    assert not committing.done()
    committing.cancel()
    await asyncio.wait([committing])


async def test_a_dead_worker_gets_no_answer(store: Store, backend: MemoryBackend) -> None:
    backend.dead = True
    with pytest.raises(ConnectionError):
        await backend.call(APPEND)
    (outcome,) = await backend.commit([STALE])
    assert isinstance(outcome, ConnectionError)
    assert not store.logs[NAMES.log].entries


async def test_what_a_test_does_not_have_says_so(backend: MemoryBackend) -> None:
    for call in (backend.read_outbox(NAMES, "0-0", 1), backend.read_entries(NAMES, [])):
        with pytest.raises(NotImplementedError):
            await call
    with pytest.raises(NotImplementedError):
        backend.beat(STALE)


async def test_a_producer_gets_its_replies_and_refusals_from_the_store(store: Store) -> None:
    scripts = MemoryScripts(store)
    first, refused = await scripts.call_all([APPEND, STALE])
    assert first == [1, "5-0", 1]
    assert isinstance(refused, Fenced)
    assert await scripts.deployment.ask([("k", ("HMGET", "k", "a", "b"))]) == [[None, None]]
    async with scripts.client:
        scripts.client.abandon()
    assert isinstance(MemoryFeed(MemoryBackend(store, VirtualTime()), store, print), MemoryFeed)
