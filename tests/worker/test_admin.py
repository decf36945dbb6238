"""Operators pause, reset and delete, or keys are lost, while workers and producers use a stream."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis

from runnel import App, Events, Stream, keys
from runnel.errors import Mismatch, Removed, Unregistered
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.primaries import every_key
from tests.worker.inside import Item
from tests.worker.ledger import Entry
from tests.worker.workers import Workers, processor, send, until


def declared(url: str, partitions: int) -> tuple[App, Stream[Item], Counter[int]]:
    """An app with a processor of a stream with so many partitions, and what it has seen."""
    app = App("gone", redis_url=url, session_timeout=1.0, rebalance_delay=0.05)
    stream = app.stream("items", record=Item, partition_by="number", partition_count=partitions)
    seen: Counter[int] = Counter()

    @app.processor(stream)
    async def work(events: Events[Item]) -> None:
        async for event in events:
            seen[event.record.number] += 1

    return app, stream, seen


async def lose(redis: Redis) -> None:
    """Delete all keys of the stream and its group, as another program might."""
    for key in await stored(redis):
        await redis.delete(key)
    await redis.delete(keys.streams("gone"), keys.processors("gone"))


async def stored(redis: Redis) -> list[bytes]:
    """The keys of the app's partitions and groups."""
    return sorted(key for key in await every_key(redis) if key.startswith(b"runnel:{gone:"))


@pytest.mark.parametrize("by", ["runnel", "foreign hand"])
@pytest.mark.parametrize("sent_before", [0, 1, 60])
async def test_an_old_producer_creates_no_partition_that_the_new_stream_lacks(
    redis: Redis, redis_url: str, by: str, sent_before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, stream, _ = declared(redis_url, 8)
    await admin.add(Scripts(redis), old.processors["work"])
    for number in range(sent_before):
        await stream.send(Item(number=number))
    if by == "runnel":
        await admin.delete_stream(Scripts(redis), stream.spec)
    else:
        await lose(redis)
        monkeypatch.setattr("runnel.producer.producer._DECLARED_FOR", 0.0)
    new, _, _ = declared(redis_url, 2)
    await admin.add(Scripts(redis), new.processors["work"])
    for number in range(100):
        with pytest.raises(Mismatch):
            await stream.send(Item(number=number))
    with pytest.raises(Mismatch):
        await stream.send(*(Item(number=number) for number in range(100)))
    for partition in range(8):
        assert await redis.exists(keys.log(stream.spec.prefix(partition))) == (partition < 2)
        assert await redis.xlen(keys.log(stream.spec.prefix(partition))) == 0
    await old.close()


@pytest.mark.parametrize("by", ["runnel", "foreign hand"])
async def test_a_producer_continues_if_the_stream_exists_again_with_the_same_contract(
    redis: Redis, redis_url: str, by: str
) -> None:
    app, stream, seen = declared(redis_url, 4)
    await stream.send(*(Item(number=number) for number in range(40)))
    if by == "runnel":
        await admin.delete_stream(Scripts(redis), stream.spec)
    else:
        await lose(redis)
    await asyncio.gather(*(stream.send(Item(number=number)) for number in range(40)))
    for partition in range(4):
        assert await redis.hget(keys.meta(stream.spec.prefix(partition)), "partitions") == b"4"
        assert await redis.ttl(keys.meta(stream.spec.prefix(partition))) == -1
    await Worker(app).run(burst=True)
    assert seen == Counter(range(40))


async def test_a_worker_ends_a_processor_whose_stream_was_deleted_and_leaves_nothing(
    redis: Redis, redis_url: str
) -> None:
    app, stream, _ = declared(redis_url, 4)
    running = asyncio.create_task(Worker(app).run())
    state = keys.state(stream.spec.prefix(3), "work")
    await until(lambda: redis.hget(state, "epoch"), "all is claimed")
    await stream.send(*(Item(number=number) for number in range(40)))
    deleting = admin.delete_stream(Scripts(redis), stream.spec)
    assert await asyncio.wait_for(deleting, 20) <= 40
    with pytest.raises(Removed):
        await asyncio.wait_for(running, 20)
    metas = [keys.meta(stream.spec.prefix(p)).encode() for p in range(4)]
    assert await stored(redis) == metas
    assert all([0 < await redis.ttl(each) <= 86_400 for each in metas])
    assert await redis.hgetall(keys.streams("gone")) == {}


async def test_a_worker_creates_no_partition_that_the_new_stream_lacks(
    redis: Redis, redis_url: str
) -> None:
    old, stream, _ = declared(redis_url, 8)
    running = asyncio.create_task(Worker(old).run())
    state = keys.state(stream.spec.prefix(7), "work")
    await until(lambda: redis.hget(state, "epoch"), "all is claimed")
    await lose(redis)
    new, _, _ = declared(redis_url, 2)
    await admin.add(Scripts(redis), new.processors["work"])
    with pytest.raises(Mismatch):
        await asyncio.wait_for(running, 30)
    for partition in range(2, 8):
        assert await redis.exists(keys.log(stream.spec.prefix(partition))) == 0


async def test_a_paused_processor_does_nothing_until_it_is_resumed(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    workers.start("--processors", "careful")
    await send(redis_url, Entry(key=1, number=0))
    await until(lambda: workers.effects() == {1: [0]}, "it runs")
    paused = workers.run("processor", "pause", "tests.worker.ledger:careful")
    assert paused.stdout.startswith("paused 8 partitions"), paused.stderr

    async def state(wanted: str) -> bool:
        row = await processor(redis, redis_url, "careful")
        return {each["state"] for each in row["partitions"]} == {wanted}

    await until(lambda: state("paused"), "all partitions are paused")
    await send(redis_url, Entry(key=1, number=1))
    assert (await processor(redis, redis_url, "careful"))["lag_events"] == 1
    assert workers.effects() == {1: [0]}
    workers.run("processor", "resume", "tests.worker.ledger:careful")
    await until(lambda: workers.effects() == {1: [0, 1]}, "it continues")


async def test_reset_with_workers_running_reads_everything_again(
    redis: Redis, redis_url: str, workers: Workers
) -> None:
    workers.start("--processors", "careful")
    await send(redis_url, *(Entry(key=1, number=n) for n in range(3)))
    await until(lambda: workers.effects() == {1: [0, 1, 2]}, "it runs")
    start = ("--start", "0", "--execute")
    reset = workers.run("processor", "reset", "tests.worker.ledger:careful", *start)
    assert reset.returncode == 0, reset.stderr
    await until(lambda: workers.effects() == {1: [0, 1, 2] * 2}, "all comes again")
    await until(lambda: _lag_is_zero(redis, redis_url), "the group.s lag is exact again")


async def _lag_is_zero(redis: Redis, url: str) -> bool:
    return bool((await processor(redis, url, "careful"))["lag_events"] == 0)


@pytest.mark.parametrize("what", ["reset", "pause"])
async def test_partitions_that_an_operator_changed_before_an_error_are_claimed_again(
    redis: Redis, redis_url: str, what: str
) -> None:
    app, stream, _ = declared(redis_url, 2)
    scripts, spec, work = Scripts(redis), stream.spec, app.processors["work"]
    plan = keys.plan(work.group)
    await admin.add(scripts, work)
    await redis.hset(plan, mapping={"p:0": "a a 7 0", "p:1": "a a 8 0"})
    await redis.delete(keys.log(spec.prefix(1)), keys.state(spec.prefix(1), "work"))
    reset = what == "reset"
    changing = admin.reset(scripts, work, "0") if reset else admin.pause(scripts, work)
    with pytest.raises(Unregistered):
        await changing
    assert await redis.hmget(plan, ["p:0", "p:1"]) == [b"- a 7 0", b"a a 8 0"]
