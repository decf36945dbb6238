"""What is emitted through an outbox reaches its stream once and in order, whatever happens."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import Events, keys
from runnel.core.partition import PartitionState
from runnel.errors import Halted
from runnel.operations import admin
from runnel.protocol.scripts import Call, Scripts
from runnel.worker import forwarder
from runnel.worker.backend import RedisBackend
from runnel.worker.committer import Committer
from runnel.worker.worker import Worker
from tests.worker.inside import Item, caught_up, owned
from tests.worker.relay import Copy, Relay, use_outbox
from tests.worker.workers import until


@pytest.fixture
def relay(redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch) -> Relay:
    """A processor that emits through its outbox."""
    use_outbox(monkeypatch)
    return Relay(app_name, redis_url)


async def test_what_is_emitted_arrives_once_and_in_order_and_leaves_the_outbox(
    redis: Redis, relay: Relay
) -> None:
    await relay.send(*range(1000))
    async with relay.running():
        await relay.until_copied(redis, *range(1000))
        await relay.send(*range(1000, 1100))
        await relay.until_copied(redis, *range(1100))
    assert await relay.counts(redis) == [1100, 1100, 0]


async def test_a_release_waits_until_what_was_emitted_is_forwarded(
    redis: Redis, relay: Relay
) -> None:
    await relay.send(*range(300))
    async with relay.running():
        await until(lambda: len(relay.seen) == 300, "all are handled")
    await relay.check(redis, *range(300))
    assert await relay.counts(redis) == [300, 300, 0]
    assert await redis.hget(relay.state, "released") == b"1"


async def test_a_handler_can_finish_its_event_while_the_partition_drains_and_entries_wait(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, in_hand, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class SlowBackend(RedisBackend):
        async def forward(self, call: Call) -> Any:
            await released.wait()
            return await super().forward(call)

    use_outbox(monkeypatch, SlowBackend)
    relay = Relay(app_name, redis_url)

    @relay.app.processor(relay.items, name="slow", commit="each")
    async def slow(events: Events[Item]) -> None:
        async for item in events.records():
            events.emit(relay.copies, Copy(key=0, number=item.number))
            if item.number == 1:
                in_hand.set()
                await go_on.wait()

    async with relay.running() as worker:
        await relay.send(0, 1)
        await in_hand.wait()
        worker.stop.set()
        # They run only if the worker leaves the event loop to others.
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        asyncio.get_running_loop().call_later(0.2, released.set)
    assert sorted((await relay.copied(redis))[0]) == [0, 0, 1]


async def test_a_release_that_waits_for_the_forwarder_keeps_nobody_busy(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, go_on, rounds = asyncio.Event(), asyncio.Event(), [0]

    class Held(RedisBackend):
        async def forward(self, call: Call) -> Any:
            arrived.set()
            await go_on.wait()
            return await super().forward(call)

    commit = Committer._commit

    async def count(committer: Committer, states: list[PartitionState]) -> None:
        rounds[0] += 1
        await commit(committer, states)

    monkeypatch.setattr(Committer, "_commit", count)
    use_outbox(monkeypatch, Held)
    relay = Relay(app_name, redis_url)
    await relay.send(0)
    async with relay.running() as worker:
        await arrived.wait()
        worker.stop.set()
        state = worker._members[0].queues[0].state
        await until(lambda: state.handler_ended, "only the release is left")
        before = rounds[0]
        for _ in range(200):
            await asyncio.sleep(0)
        assert rounds[0] - before < 5
        go_on.set()
    await relay.check(redis, 0)
    assert await redis.hget(relay.state, "released") == b"1"


async def test_calls_whose_replies_are_lost_are_repeated_and_nothing_comes_twice(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, lost = random.Random(7), 0

    class LossyBackend(RedisBackend):
        async def forward(self, call: Call) -> Any:
            return await self._maybe(super().forward(call))

        async def read_outbox(self, *arguments: Any) -> Any:
            return await self._maybe(super().read_outbox(*arguments))

        async def call_batched(self, call: Call) -> Any:
            made = super().call_batched(call)
            return await (self._maybe(made) if call.script == "trim_outbox" else made)

        async def _maybe(self, made: Any) -> Any:
            nonlocal lost
            reply = await made
            if rng.random() < 0.4:
                lost += 1
                raise ConnectionError("the reply was lost")
            return reply

    use_outbox(monkeypatch, LossyBackend)
    monkeypatch.setattr(forwarder, "PAUSE", 0.001)
    relay = Relay(app_name, redis_url)
    async with relay.running():
        for start in range(0, 500, 25):
            await relay.send(*range(start, start + 25))
        await relay.until_copied(redis, *range(500))
    assert lost > 5
    assert await relay.counts(redis) == [500, 500, 0]


async def test_the_next_owner_forwards_what_a_worker_has_left(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DeafBackend(RedisBackend):
        """Appends a part, and trims nothing."""

        async def call_batched(self, call: Call) -> Any:
            if call.script == "trim_outbox":
                raise ConnectionError("the worker is cut off")
            return await super().call_batched(call)

        async def forward(self, call: Call) -> Any:
            if ":1}:copies:" in call.keys[0]:
                raise ConnectionError("the worker is cut off")
            return await super().forward(call)

    use_outbox(monkeypatch, DeafBackend)
    first = Relay(app_name, redis_url)
    await first.send(*range(100))
    async with first.running():
        await until(lambda: len(first.seen) == 100, "all are handled")
    assert await redis.xlen(first.outbox) == 100
    assert await redis.xlen(first.log_of(1)) == 0
    assert await redis.hget(first.state, "released") == b"1", "it did not wait for long"
    use_outbox(monkeypatch)
    second = Relay(app_name, redis_url)
    async with second.running():
        await second.until_copied(redis, *range(100))
    assert not second.seen


@pytest.mark.only_on("server", "sentinel")
async def test_without_a_cluster_a_lease_that_finds_an_outbox_goes_on_with_it(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoForwarding(RedisBackend):
        async def forward(self, call: Call) -> Any:
            raise ConnectionError("the worker is cut off")

    with monkeypatch.context() as patched:
        use_outbox(patched, NoForwarding)
        first = Relay(app_name, redis_url)
        async with first.one_run(redis, *range(50)):
            await until(lambda: len(first.seen) == 50, "all are handled")
    assert await redis.xlen(first.outbox) == 50
    second = Relay(app_name, redis_url)
    await second.send(*range(50, 100))
    async with second.running():
        await second.until_copied(redis, *range(100))
    assert (await second.counts(redis))[0] == 100, "no new entry overtakes an older one"
    third = Relay(app_name, redis_url)
    await third.send(*range(100, 150))
    async with third.running():
        await third.until_copied(redis, *range(150))
    assert (await third.counts(redis))[0] == 100, "with an empty outbox they go straight there"


async def test_a_full_target_holds_up_no_other_until_the_outbox_is_full(
    redis: Redis,
    redis_url: str,
    app_name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    use_outbox(monkeypatch)
    monkeypatch.setattr("runnel.core.pending_effects.OUTBOX_SIZE", 30)
    relay = Relay(app_name, redis_url, size=5)
    full, others = relay.numbers_in(0, 20), relay.numbers_in(1, 4)
    await relay.send(*full[:8])
    async with relay.running():
        await until(lambda: "no room in copies, because no processor" in caplog.text, "it is told")
        await relay.send(*others)
        await until(lambda: len(relay.seen) == 12, "the partition goes on")

        async def forwarded(count: int = 4) -> bool:
            return bool(await redis.xlen(relay.log_of(1)) == count)

        await until(forwarded, "the other target does not wait")
        fields = ["outbox_waits_for", "outbox_last", "outbox_done"]

        async def reported() -> bool:
            return await redis.hmget(relay.state, fields) == [b"copies", b"12", b"5"]

        await until(reported, "what it waits for is stored")
        await relay.send(*range(30))

        async def held() -> bool:
            return await redis.hget(relay.state, "wait_for") == b"copies"

        await until(held, "the commit waits, and names the stream that is full")
        assert "its commit waits" in caplog.text
        assert "outbox," not in caplog.text, "the outbox is not the reason"
        for partition in range(3):
            await redis.xtrim(relay.log_of(partition), maxlen=0, approximate=False)

        async def all_out() -> bool:
            for partition in range(3):
                await redis.xtrim(relay.log_of(partition), maxlen=0, approximate=False)
            return await relay.counts(redis) == [42, 42, 0]

        await until(all_out, "it goes on by itself")
        assert "there is room again in copies" in caplog.text
        assert await redis.hget(relay.state, "outbox_waits_for") is None


async def test_a_release_does_not_wait_for_a_full_target(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_outbox(monkeypatch)
    relay = Relay(app_name, redis_url, size=5)
    await relay.send(*relay.numbers_in(0, 20))
    async with relay.running():
        await until(lambda: redis.hget(relay.state, "outbox_waits_for"), "it is full")
    assert await redis.hget(relay.state, "released") == b"1"
    assert await relay.counts(redis) == [20, 5, 0]


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
