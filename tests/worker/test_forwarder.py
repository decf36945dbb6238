"""What is emitted through an outbox reaches its stream once and in order, whatever happens."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import Events
from runnel.core.partition import PartitionState
from runnel.protocol.scripts import Call
from runnel.worker import forwarder
from runnel.worker.backend import RedisBackend
from runnel.worker.committer import Committer
from tests.worker.inside import Item
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
