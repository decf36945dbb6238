"""A worker removes old events of the partitions that it holds, while nobody sends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import App, Record
from runnel.errors import BadArgument
from runnel.operations import admin
from runnel.protocol.scripts import Call, Scripts
from runnel.worker import trimming
from runnel.worker.trimming import AT_ONCE, Trimmer, every, trim_by_age
from tests.worker.inside import Item, Ledger
from tests.worker.workers import until

DAY = 86_400_000


def shop(name: str, url: str, **options: Any) -> Any:
    """A stream whose events are old after a second, and a processor that processes them at once."""
    ledger = Ledger(name, url)
    ledger.items = ledger.app.stream(
        "short", record=Item, partition_by="number", partition_count=1, max_age=1, **options
    )
    ledger.processor()
    return ledger


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that partitions were trimmed, which is often."""
    found: list[int] = []
    trim = Trimmer.trim

    async def noted(self: Trimmer, prefixes: list[str]) -> list[str]:
        left = await trim(self, prefixes)
        if prefixes:
            found.append(len(prefixes))
        return left

    monkeypatch.setattr(trimming, "LEAST", 0.05)
    monkeypatch.setattr(Trimmer, "trim", noted)
    return found


async def test_an_idle_worker_removes_what_is_old(
    redis: Redis, redis_url: str, app_name: str, trims: list[int]
) -> None:
    ledger = shop(app_name, redis_url)
    log = f"{ledger.items.spec.prefix(0)}:log"
    async with ledger.running():
        await ledger.send(*range(9))
        await until(lambda: len(ledger.seen) == 9, "all are processed")
        await until(lambda: has(redis, log, 1), "the entry at the checkpoint is left")
        await ledger.send(9)
        await until(lambda: len(ledger.seen) == 10, "it goes on behind the entry that is left")
    assert trims


async def passed(redis: Redis, ms: int) -> bool:
    seconds, micros = await redis.time()
    return bool(seconds * 1000 + micros / 1000 > ms)


async def has(redis: Redis, log: str, entries: int) -> bool:
    return bool(await redis.xlen(log) == entries)


async def test_s4_a_worker_removes_nothing_that_a_processor_has_not_committed(
    redis: Redis, redis_url: str, app_name: str, trims: list[int]
) -> None:
    ledger = shop(app_name, redis_url)
    log = f"{ledger.items.spec.prefix(0)}:log"

    async def slow(events: Any) -> None:
        """It does not run."""

    ledger.app.processor(ledger.items, name="slow")(slow)
    await admin.add(Scripts(redis), ledger.app.processors.pop("slow"))
    async with ledger.running():
        await ledger.send(*range(9))
        await until(lambda: len(ledger.seen) == 9, "one of them has processed all")
        entries: Any = await redis.xrevrange(log, count=1)
        old = int(entries[0][0].split(b"-")[0]) + 1_200
        await until(lambda: passed(redis, old), "all are older than a second")
        trims.clear()
        await until(lambda: len(trims) >= 3, "it has looked since")
        assert await redis.xlen(log) == 9


class Answers:
    """A backend that gives these replies, one after the other, to each call."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.calls: list[list[Call]] = []

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        self.calls.append(list(calls))
        reply = self.replies.pop(0) if self.replies else [0, 0, b""]
        if isinstance(reply, ConnectionError):
            raise reply
        return [reply] * len(calls)


def trimmer(*replies: Any) -> tuple[Trimmer, Answers]:
    app = App("shop")
    stream = app.stream("orders", record=Order, partition_by="id", max_age=60)

    @app.on(stream)
    async def bill(order: Order) -> None:
        """Nothing."""

    backend = Answers(*replies)
    return Trimmer(app.processors["bill"], cast("Any", backend)), backend


class Order(Record):
    id: int


async def test_partitions_with_more_to_remove_are_named() -> None:
    made, backend = trimmer([1000, 1, b""], [5, 0, b"printer"])
    assert await made.trim(["a", "b"]) == ["a", "b"]
    assert await made.trim(["a"]) == []
    assert backend.calls[1][0].args == (0, 60_000, "refuse")


async def test_a_failure_is_logged_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "runnel.worker")
    refused, nothing = BadArgument("BADARG field=size"), [0, 0, b""]
    made, _ = trimmer(refused, ConnectionError("gone"), nothing, refused)
    for _ in range(4):
        assert await made.trim(["a"]) == []
    said = [each.getMessage() for each in caplog.records]
    assert said == ["processor bill: old events could not be removed: BADARG field=size"] * 2


@pytest.mark.parametrize(("age", "seconds"), [(1_000, 1.0), (100_000, 5.0), (7 * DAY, 60.0)])
def test_how_often_a_partition_is_trimmed(age: int, seconds: float) -> None:
    assert every(age) == seconds


class Held:
    """A partition that is held, as far as it is looked at here."""

    def __init__(self, number: int) -> None:
        self.ended = False
        self.keys = type("Keys", (), {"prefix": f"runnel:{{shop:orders:{number}}}:orders"})


async def test_many_partitions_are_trimmed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "LEAST", 0.01)
    monkeypatch.setattr(trimming, "MOST", 0.01)
    made, backend = trimmer()
    states: Any = [Held(number) for number in range(1_050)]
    states[7].ended = True
    processor = made._processor
    task = asyncio.create_task(trim_by_age(processor, cast("Any", backend), lambda: states))
    await until(lambda: sum(map(len, backend.calls)) >= 1_049, "each had its turn")
    task.cancel()
    assert max(map(len, backend.calls)) == AT_ONCE
    assert len({call.keys for calls in backend.calls for call in calls}) == 1_049


async def test_a_stream_without_an_age_is_left_alone() -> None:
    app = App("shop")
    stream = app.stream("orders", record=Order, partition_by="id")

    @app.on(stream)
    async def bill(order: Order) -> None:
        """Nothing."""

    backend = Answers()
    await trim_by_age(app.processors["bill"], cast("Any", backend), list)
    assert backend.calls == []
