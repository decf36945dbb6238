"""What passes between a group and its members, where replies, settings and operators cross."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Events, Record, Stream, keys
from runnel.connection.connect import connect
from runnel.errors import ConfigError, Replaced, Unregistered
from runnel.operations import admin
from runnel.protocol.scripts import Call, Scripts
from runnel.worker import backend as backend_module
from runnel.worker.backend import RedisBackend
from runnel.worker.worker import Worker
from tests.proxy import Proxy
from tests.worker.inside import Ledger, caught_up
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


async def test_a_claim_that_is_answered_late_under_an_older_grant_is_given_back(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, late = asyncio.Event(), asyncio.Event()
    tenures: list[int] = []

    class SlowBackend(RedisBackend):
        async def gathered(self, call: Call) -> Any:
            reply = await super().gathered(call)
            if call.script == "claim":
                tenures.append(reply[5])
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

        async def granted_anew() -> bool:
            now: Any = await redis.hgetall(plan)
            return all(now[p].split()[2] > before[p].split()[2] for p in (b"p:0", b"p:1"))

        await until(granted_anew, "both are granted anew")
        late.set()
        await until(lambda: len(shop.done) == 30, "all is processed")
        await asyncio.sleep(0.1)
    assert set(shop.begun.values()) == {1}, "by one handler at a time, each under a valid token"
    assert set(tenures) == {0}, "nobody died here"


async def test_a_check_of_a_partition_that_is_given_back_meanwhile_says_nothing(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    claims, checking = 0, asyncio.Event()

    async def released() -> bool:
        return bool(await redis.hget(ledger.state, "released") == b"1")

    class LateLink(RedisBackend):
        async def gathered(self, call: Call) -> Any:
            nonlocal claims
            claims += call.script == "claim"
            if call.script == "claim" and claims == 2:
                checking.set()
                await until(released, "it is given back")
            return await super().gathered(call)

    monkeypatch.setattr("runnel.worker.worker.RedisBackend", LateLink)
    ledger.processor()
    async with ledger.running():
        await checking.wait()
    assert await released()
    assert not caplog.text


@pytest.mark.parametrize("what", ["resume", "pause and resume"])
async def test_an_operator_does_not_cut_a_hand_over_short(
    redis: Redis, redis_url: str, what: str
) -> None:
    first, second, scripts = Shop(redis_url), Shop(redis_url), Scripts(redis)
    numbers = [first.number_in(0), first.number_in(1)]
    first.open.clear()
    async with first.running("a"):
        await first.items.send(*(Item(number=n) for n in numbers))
        await until(lambda: len(first.begun) == 2, "both events are in hand")
        async with second.running("b"):
            plan = keys.plan(first.work.group)

            async def moving() -> bool:
                records: Any = await redis.hmget(plan, ["p:0", "p:1"])
                return any(each.split()[:2] == [b"a", b"b"] for each in records)

            await until(moving, "one is asked back")
            if what == "pause and resume":
                await admin.pause(scripts, first.work)
            await admin.resume(scripts, first.work)
            await asyncio.sleep(0.3)
            assert await moving(), "its holder has an event in hand"
            first.open.set()
            group = first.work.group

            async def shared() -> bool:
                records: Any = await redis.hmget(keys.plan(group), ["p:0", "p:1"])
                return {each.split()[0] for each in records} == {b"a", b"b"}

            await until(shared, "each has one")
    moved = [n for n in numbers if second.begun[n]]
    assert not moved, "what was in hand was finished by the one who had it"


@pytest.mark.parametrize("what", ["reset", "pause"])
async def test_what_an_operator_did_before_an_error_is_claimed_anew(
    redis: Redis, redis_url: str, what: str
) -> None:
    shop, scripts = Shop(redis_url), Scripts(redis)
    plan, spec = keys.plan(shop.work.group), shop.items.spec
    await admin.add(scripts, shop.work)
    await redis.hset(plan, mapping={"p:0": "a a 7 0", "p:1": "a a 8 0"})
    await redis.delete(keys.log(spec.prefix(1)), keys.state(spec.prefix(1), "work"))
    reset = what == "reset"
    work = admin.reset(scripts, shop.work, "0") if reset else admin.pause(scripts, shop.work)
    with pytest.raises(Unregistered):
        await work
    assert await redis.hmget(plan, ["p:0", "p:1"]) == [b"- a 7 0", b"a a 8 0"]


@pytest.mark.parametrize("lost", [1, 2])
async def test_a_start_under_a_stable_name_whose_first_calls_are_lost_goes_on(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    shop = Shop(redis_url)
    async with shop.running("pod-0"):
        await until(lambda: redis.zscore(keys.sessions(shop.work.group), "pod-0"), "it joins")
        record = await redis.hget(keys.members(shop.work.group), "pod-0")
    # As if it had been killed: its record is there, as long as its session.
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


async def test_the_side_heartbeat_of_a_removed_processor_ends_with_it(
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
        await until(lambda: threads() == 1, "one vouches for what is left")
        assert not run.done()
        await shop.items.send(Item(number=1))
        await until(lambda: shop.done, "which goes on")
    assert await redis.exists(members) == 0


async def test_a_wake_up_channel_that_went_dead_is_opened_anew(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "LISTEN_S", 0.1)
    heard = asyncio.Event()

    async def subscriber() -> str | None:
        clients: Any = await redis.client_list(_type="pubsub")
        return clients[0]["id"] if clients else None

    async with Proxy(redis_url) as proxy, connect(proxy.url) as client:
        backend = RedisBackend(Scripts(client), proxy.url)
        listening = asyncio.create_task(backend.listen("wake", heard.set))
        first = await until(subscriber, "it listens")
        await asyncio.sleep(0.5)
        assert await subscriber() == first, "silence alone is no reason"
        proxy.hold("requests", "replies")
        await asyncio.sleep(0.5)
        proxy.heal()

        async def another() -> bool:
            return await subscriber() not in (None, first)

        await until(another, "it listens again")
        assert await redis.publish("wake", "x") == 1
        await asyncio.wait_for(heard.wait(), 10)
        listening.cancel()
        await asyncio.wait([listening])


@pytest.mark.parametrize("gone", ["the newest", "all", "the newest, while it runs"])
async def test_a_burst_ends_where_the_newest_entry_was_deleted(
    redis: Redis, ledger: Ledger, gone: str
) -> None:
    async def work(events: Events[Any]) -> None:
        async for event in events:
            if gone.endswith("runs") and not ledger.seen:
                newest: Any = await redis.xrevrange(ledger.log, count=1)
                await redis.xdel(ledger.log, newest[0][0])
            ledger.seen.append(event.record.number)

    ledger.processor(work, prefetch=1)
    await admin.add(Scripts(redis), ledger.app.processors["work"])
    await ledger.send(*range(5))
    if gone == "the newest":
        newest: Any = await redis.xrevrange(ledger.log, count=1)
        await redis.xdel(ledger.log, newest[0][0])
    elif gone == "all":
        await redis.xtrim(ledger.log, 0)
    await asyncio.wait_for(Worker(ledger.app).run(burst=True), 30)
    assert ledger.seen == ([] if gone == "all" else [0, 1, 2, 3])
    lost = await redis.hget(ledger.state, "lost")
    assert lost == (b"5" if gone == "all" else b"1"), "and what was lost has been counted"
    assert not await caught_up(redis, ledger) or gone == "all"


async def test_one_processor_too_many_is_refused_in_a_sentence(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    scripts, work = Scripts(redis), ledger.app.processors["work"]
    fields = {f"checkpoint:p{number}": "0-0" for number in range(100)}
    await redis.hset(ledger.meta, mapping=fields)  # type: ignore[arg-type]
    said = "stream items has 100 registered processors, and 100 are the most there may be"
    with pytest.raises(ConfigError, match=said):
        await admin.add(scripts, work)
    with pytest.raises(ConfigError, match=said):
        await Worker(ledger.app).run()
    await redis.hdel(ledger.meta, "checkpoint:p7")
    await admin.add(scripts, work)
