"""A member claims and releases as its group decides, even if replies are late or lost, or operators
act at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import App, Events, Record, Stream, keys
from runnel.errors import Replaced
from runnel.operations import admin
from runnel.protocol.scripts import Call, Scripts
from runnel.worker.backend import RedisBackend
from runnel.worker.worker import Worker
from tests.worker.inside import Ledger
from tests.worker.workers import until


class Item(Record):
    number: int


class Shop:
    """An app of two partitions whose handler can be held up, and what it did."""

    def __init__(self, url: str, **settings: Any) -> None:
        options = {
            "session_timeout": 2.0,
            "rebalance_delay": 0.05,
            "shutdown_timeout": 5.0,
            **settings,
        }
        self.app = App("shop", redis_url=url, **options)
        self.items: Stream[Item] = self.app.stream(
            "items", record=Item, partition_by="number", partition_count=2
        )
        self.begun: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        self.open = asyncio.Event()
        self.open.set()

        @self.app.processor(self.items)
        async def work(events: Events[Item]) -> None:
            async for event in events:
                self.begun[event.record.number] += 1
                await self.open.wait()
                self.done[event.record.number] += 1

        self.work = self.app.processors["work"]

    def number_in(self, partition: int) -> int:
        """A number whose event goes to this partition."""
        every = ((n, self.items.spec.partition(Item(number=n))) for n in range(100))
        return next(n for n, p in every if p == partition)

    @asynccontextmanager
    async def running(self, name: str | None = None) -> AsyncIterator[asyncio.Task[None]]:
        """A worker in this process, stopped in the end."""
        worker = Worker(self.app, name=name)
        run = asyncio.create_task(worker.run())
        try:
            yield run
        finally:
            worker.stop.set()
            await asyncio.wait([run])


async def test_a_claim_whose_reply_arrives_late_under_an_older_grant_is_released(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, late = asyncio.Event(), asyncio.Event()
    unclean_tenures: list[int] = []

    class SlowBackend(RedisBackend):
        async def call_batched(self, call: Call) -> Any:
            reply = await super().call_batched(call)
            if call.script == "claim":
                unclean_tenures.append(reply[5])
            if call.script == "claim" and not answered.is_set():
                answered.set()
                await late.wait()
            return reply

    monkeypatch.setattr("runnel.worker.worker.RedisBackend", SlowBackend)
    shop, scripts = Shop(redis_url), Scripts(redis)
    await shop.items.send(*(Item(number=n) for n in range(30)))
    async with shop.running():
        await answered.wait()
        plan = keys.plan(shop.work.group)
        before: Any = await redis.hgetall(plan)
        await admin.pause(scripts, shop.work)
        await admin.resume(scripts, shop.work)

        async def granted_again() -> bool:
            now: Any = await redis.hgetall(plan)
            return all(now[p].split()[2] > before[p].split()[2] for p in (b"p:0", b"p:1"))

        await until(granted_again, "both are granted again")
        late.set()
        await until(lambda: len(shop.done) == 30, "all is processed")
        await asyncio.sleep(0.1)
    assert set(shop.begun.values()) == {1}, "by one handler at a time, each under a valid token"
    assert set(unclean_tenures) == {0}, "no worker died"


async def test_a_claim_whose_reply_was_lost_is_repeated_and_keeps_its_lease(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies: dict[str, list[tuple[int, int]]] = {}

    class LosingBackend(RedisBackend):
        async def call_batched(self, call: Call) -> Any:
            reply = await super().call_batched(call)
            if call.script == "claim":
                partition = replies.setdefault(call.keys[0], [])
                partition.append((reply[0], reply[5]))
                if len(partition) == 1:
                    raise ConnectionError("lost")
            return reply

    monkeypatch.setattr("runnel.worker.worker.RedisBackend", LosingBackend)
    shop = Shop(redis_url)
    await shop.items.send(*(Item(number=n) for n in range(30)))
    async with shop.running():
        await until(lambda: len(shop.done) == 30, "all is processed")
    assert len(replies) == 2
    for first, second, *_ in replies.values():
        assert first == second, "the same epoch, and no death was counted"


async def test_a_repeated_claim_of_a_partition_that_is_released_meanwhile_logs_nothing(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    claims, checking = 0, asyncio.Event()

    async def released() -> bool:
        return bool(await redis.hget(ledger.state, "released") == b"1")

    class LateLink(RedisBackend):
        async def call_batched(self, call: Call) -> Any:
            nonlocal claims
            claims += call.script == "claim"
            if call.script == "claim" and claims == 2:
                checking.set()
                await until(released, "it is released")
            return await super().call_batched(call)

    monkeypatch.setattr("runnel.worker.worker.RedisBackend", LateLink)
    ledger.processor()
    async with ledger.running():
        await checking.wait()
    assert await released()
    assert not caplog.text


@pytest.mark.parametrize("what", ["resume", "pause and resume"])
async def test_an_operator_does_not_interrupt_a_move(
    redis: Redis, redis_url: str, what: str
) -> None:
    first, second, scripts = Shop(redis_url), Shop(redis_url), Scripts(redis)
    numbers = [first.number_in(0), first.number_in(1)]
    first.open.clear()
    async with first.running("a"):
        await first.items.send(*(Item(number=n) for n in numbers))
        await until(lambda: len(first.begun) == 2, "both events are current")
        async with second.running("b"):
            plan = keys.plan(first.work.group)

            async def moving() -> bool:
                records: Any = await redis.hmget(plan, ["p:0", "p:1"])
                return any(each.split()[:2] == [b"a", b"b"] for each in records)

            await until(moving, "the release of one is requested")
            if what == "pause and resume":
                await admin.pause(scripts, first.work)
            await admin.resume(scripts, first.work)
            await asyncio.sleep(0.3)
            assert await moving(), "its owner has a current event"
            first.open.set()
            group = first.work.group

            async def shared() -> bool:
                records: Any = await redis.hmget(keys.plan(group), ["p:0", "p:1"])
                return {each.split()[0] for each in records} == {b"a", b"b"}

            await until(shared, "each has one")
    moved = [n for n in numbers if second.begun[n]]
    assert not moved, "the previous owner finished its current event"


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_worker_under_a_stable_name_starts_though_its_first_calls_are_lost(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    shop = Shop(redis_url)
    async with shop.running("pod-0"):
        await until(lambda: redis.zscore(keys.sessions(shop.work.group), "pod-0"), "it joins")
        record = await redis.hget(keys.members(shop.work.group), "pod-0")
    # As if it had been killed: its record is kept as long as its session.
    await redis.hset(keys.members(shop.work.group), "pod-0", record or b"")
    await redis.hdel(keys.members(shop.work.group), "left:pod-0")
    await redis.zadd(keys.sessions(shop.work.group), {"pod-0": 9_000_000_000_000})
    left = lost

    class LossyBackend(RedisBackend):
        async def call(self, call: Call) -> Any:
            nonlocal left
            if call.script == "sync" and left:
                left -= 1
                raise ConnectionError("lost")
            return await super().call(call)

    monkeypatch.setattr("runnel.worker.worker.RedisBackend", LossyBackend)
    again = Shop(redis_url)
    await again.items.send(Item(number=1))
    async with again.running("pod-0") as run:
        await until(lambda: again.done or run.done(), "it works")
        assert not run.done() or not isinstance(run.exception(), Replaced)
    assert again.done == {1: 1}


async def test_the_heartbeat_thread_of_a_removed_processor_ends_with_it(
    redis: Redis, redis_url: str
) -> None:
    shop = Shop(redis_url, session_timeout=1.0)

    @shop.app.processor(shop.items)
    async def other(events: Events[Item]) -> None:
        async for _ in events:
            pass

    def threads() -> int:
        return sum(each.name == "runnel-heartbeat" for each in threading.enumerate())

    async with shop.running() as run:
        members = keys.sessions(shop.app.processors["other"].group)
        await until(lambda: redis.zcard(members), "it runs")
        assert threads() == 2
        await admin.remove(Scripts(redis), shop.app.processors["other"])
        await until(lambda: threads() == 1, "one sends heartbeats for the rest")
        assert not run.done()
        await shop.items.send(Item(number=1))
        await until(lambda: shop.done, "which continues")
    assert await redis.exists(members) == 0
