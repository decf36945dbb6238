"""What cannot be forwarded as it is: lost entries, targets that are gone, wrong or not durable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys
from runnel.errors import Halted
from runnel.operations import admin
from runnel.protocol.scripts import Call, Scripts
from runnel.worker import forwarder
from runnel.worker.backend import RedisBackend
from runnel.worker.worker import Worker
from tests.worker.inside import caught_up, owned
from tests.worker.relay import Relay, use_outbox
from tests.worker.workers import until


@pytest.fixture
def relay(redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch) -> Relay:
    """A processor that emits through its outbox."""
    use_outbox(monkeypatch)
    return Relay(app_name, redis_url)


async def test_entries_that_were_deleted_are_told_and_counted_as_lost(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    use_outbox(monkeypatch)
    relay = Relay(app_name, redis_url, size=5)
    await relay.send(*relay.numbers_in(0, 20))
    async with relay.running():
        await until(lambda: redis.hget(relay.state, "outbox_waits_for"), "it is full")
    entries: Any = await redis.xrange(relay.outbox)
    await redis.xdel(relay.outbox, entries[0][0], entries[3][0], entries[-1][0])
    again = Relay(app_name, redis_url)
    async with again.running():

        async def done() -> bool:
            await redis.xtrim(again.log_of(0), maxlen=0, approximate=False)
            return await again.counts(redis) == [20, 20, 3]

        await until(done, "it goes on")
    assert "emitted entries were LOST" in caplog.text


async def test_an_outbox_that_is_gone_is_told_and_counted(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    use_outbox(monkeypatch)
    relay = Relay(app_name, redis_url, size=5)
    await relay.send(*relay.numbers_in(0, 20))
    async with relay.running():
        await until(lambda: redis.hget(relay.state, "outbox_waits_for"), "it is full")
        await redis.delete(relay.outbox)
        await redis.xtrim(relay.log_of(0), maxlen=0, approximate=False)

        async def done() -> bool:
            return await relay.counts(redis) == [20, 20, 15]

        await until(done, "a running worker finds out")
    await redis.hset(relay.state, "outbox_last", "25")
    again = Relay(app_name, redis_url)
    async with again.running():
        await until(lambda: ": 5 emitted entries were LOST" in caplog.text, "and so does the next")
    assert await again.counts(redis) == [25, 25, 20]


async def test_a_target_that_was_deleted_is_declared_again(redis: Redis, relay: Relay) -> None:
    async with relay.one_run(redis, *range(30)):
        await relay.until_copied(redis, *range(30))
        assert await admin.delete_stream(Scripts(redis), relay.copies.spec) == 30
        await relay.send(*range(30, 60))
        await relay.until_copied(redis, *range(30, 60))


async def test_a_target_with_another_partition_count_stops_the_processor(
    redis: Redis, relay: Relay
) -> None:
    meta = keys.meta(relay.copies.spec.prefix(0))
    run = asyncio.create_task(Worker(relay.app).run())
    await relay.send(*range(100))
    await relay.until_copied(redis, *range(100))
    await redis.hset(meta, "partitions", "7")
    await relay.send(*relay.numbers_in(0, 1))
    with pytest.raises(Halted, match="stream copies was made with partition_count=7") as caught:
        await run
    assert relay.outbox in str(caught.value)
    assert await redis.hget(relay.state, "released") == b"1"
    assert await redis.xlen(relay.outbox) == 1


async def test_what_a_paused_processor_has_emitted_is_forwarded(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_outbox(monkeypatch)
    relay = Relay(app_name, redis_url, size=5)
    numbers = relay.numbers_in(0, 8)  # Five fit.
    await relay.send(*numbers)
    async with relay.running():
        await until(lambda: redis.hget(relay.state, "outbox_waits_for"), "it is full")
    await admin.pause(Scripts(redis), relay.app.processors["work"])
    await redis.xtrim(relay.log_of(0), maxlen=0, approximate=False)
    async with relay.running():
        await until(lambda: owned(redis, relay), "it is claimed")
        await relay.until_copied(redis, *numbers[5:])


async def test_nothing_is_forwarded_before_it_is_as_durable_as_demanded(
    redis: Redis,
    redis_url: str,
    app_name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A failover would lose the event and what it has emitted, and the event would come again."""
    use_outbox(monkeypatch)
    relay = Relay(app_name, redis_url, size=5)
    await relay.send(*relay.numbers_in(0, 8))
    async with relay.running():
        await until(lambda: redis.hget(relay.state, "outbox_waits_for"), "it is full")
    await redis.xtrim(relay.log_of(0), maxlen=0, approximate=False)
    again = Relay(app_name, redis_url, durability="replica")
    async with again.running():
        await until(lambda: "no replica has it yet" in caplog.text, "no replica has it")
    assert await redis.xlen(again.log_of(0)) == 0
    assert await redis.hget(relay.state, "released") == b"1"


async def test_entries_that_their_target_takes_for_those_of_a_later_lease_count_as_lost(
    redis: Redis, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """A failover has lost that lease, and the clock of the new server is behind."""
    numbers = keys.numbers(relay.copies.spec.prefix(0))
    sender = f"outbox:items:0:{relay.partition_keys.processor}"
    await redis.hset(numbers, sender, "9999999999999-3 1-1 1 9999999999999-3")
    await relay.send(*relay.numbers_in(0, 4))
    async with relay.running():

        async def counted() -> bool:
            return await relay.counts(redis) == [4, 4, 4]

        await until(counted, "all are counted")
    assert "emitted entries were LOST" in caplog.text


async def test_a_malformed_entry_stops_the_processor(redis: Redis, relay: Relay) -> None:
    await relay.send(0)
    async with relay.running():
        await relay.until_copied(redis, 0)
    epoch = int(await redis.hget(relay.state, "epoch") or 0)
    await redis.xadd(relay.outbox, {"to": "nowhere"}, id=f"{epoch}-2")
    await redis.hset(relay.state, "outbox_last", 2)
    with pytest.raises(Halted, match="'nowhere' does not say where an entry of the outbox goes"):
        await Worker(relay.app).run()
    await redis.delete(relay.outbox)
    again = Relay(relay.app.name, relay.url)
    async with again.running():
        await again.send(1)
        await again.until_copied(redis, 0, 1)
    assert await again.counts(redis) == [3, 3, 1]


async def test_a_burst_ends_when_what_it_has_emitted_is_forwarded(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = asyncio.Event()

    class LateBackend(RedisBackend):
        async def forward(self, call: Call) -> Any:
            await ready.wait()
            return await super().forward(call)

    use_outbox(monkeypatch, LateBackend)
    monkeypatch.setattr(forwarder, "PATIENCE", 0.0)
    relay = Relay(app_name, redis_url)
    await relay.send(*range(10))
    run = asyncio.create_task(Worker(relay.app).run(burst=True))
    await until(lambda: caught_up(redis, relay), "all is committed")
    for _ in range(3):  # The burst asks every 0.1 s.
        await asyncio.wait([run], timeout=0.1)
    assert not run.done()
    ready.set()
    await run
    await relay.check(redis, *range(10))
