"""Removing a processor forgets it, and waits for members only as long as their sessions last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Record, keys, protocol
from runnel.connection.durability import AckRequirement
from runnel.errors import Unforwarded
from runnel.operations import admin
from runnel.operations.registry import announce_processor
from runnel.operations.removing import remove
from runnel.processor import Processor
from runnel.protocol.scripts import Call, Scripts
from tests.worker.workers import until


class Order(Record):
    id: int


async def bill(order: Order) -> None:
    """A handler."""


async def ship(order: Order) -> None:
    """Another handler."""


@pytest.fixture
async def app(redis: Redis, redis_url: str, app_name: str) -> App:
    """An app with two registered processors of a stream with three partitions."""
    app, scripts = App(app_name, redis_url=redis_url), Scripts(redis)
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=3)
    for handler in (bill, ship):
        app.on(orders)(handler)
    for processor in app.processors.values():
        await announce_processor(scripts, processor)
        await admin.add(scripts, processor)
    return app


class NotingScripts(Scripts):
    """Notes the names of the scripts that are called."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.called: list[str] = []

    async def call(self, call: Call, ack: AckRequirement | None = None) -> Any:
        self.called.append(call.script)
        return await super().call(call, ack)


async def join(scripts: Scripts, processor: Processor, session_ms: int) -> None:
    """Join the group as a member that is never heard of again."""
    member, times = ("w1", "w1", "host 1 python 1"), (session_ms, 100, 0)
    await scripts.call(protocol.sync(processor.group, 3, times, member, 1, "stay", (), ()))


async def test_what_is_removed_is_forgotten_and_other_processors_stay(
    redis: Redis, app: App
) -> None:
    scripts = NotingScripts(redis)
    assert await remove(scripts, app.processors["bill"]) == (3, 0)
    assert "revoke" not in scripts.called
    assert await redis.hgetall(keys.processors(app.name)) == {b"orders@ship": b"3"}
    for partition in range(3):
        stored = await redis.hgetall(keys.meta(app.streams["orders"].spec.prefix(partition)))
        assert b"checkpoint:ship" in stored
        assert b"checkpoint:bill" not in stored
    assert await remove(scripts, app.processors["bill"]) == (0, 0)


async def test_nothing_is_removed_while_emitted_entries_wait(redis: Redis, app: App) -> None:
    scripts, (bill, _) = Scripts(redis), app.processors.values()
    outbox = bill.keys(2).outbox
    await redis.xadd(outbox, {"to": "alerts 0 1 xxh64 100"})
    spec = bill.stream
    for call in (remove(scripts, bill), admin.delete_stream(scripts, spec)):
        with pytest.raises(Unforwarded, match=f"1 of its emitted entries wait in {outbox} "):
            await call
        for partition in range(3):
            reply = await scripts.call(protocol.describe(bill.keys(partition)))
            assert protocol.read_describe(reply).checkpoint == "0-0"


async def test_entries_that_a_worker_forwards_meanwhile_do_not_stop_it(
    redis: Redis, app: App
) -> None:
    scripts, (bill, _) = Scripts(redis), app.processors.values()
    outbox = bill.keys(2).outbox
    await redis.xadd(outbox, {"to": "alerts 0 1 xxh64 100"})
    await redis.config_resetstat()
    removing = asyncio.create_task(remove(scripts, bill))

    async def looked_again() -> bool:
        stats: Any = await redis.info("commandstats")
        return bool(stats.get("cmdstat_xlen", {"calls": 0})["calls"] > 3)

    await until(looked_again, "it looks again")
    await redis.xtrim(outbox, maxlen=0, approximate=False)
    assert (await removing).partitions == 3


async def test_a_member_that_is_silent_is_waited_for_until_its_session_ends(
    redis: Redis, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.operations.removing._TIME_TO_NOTICE", 0.1)
    scripts, processor = NotingScripts(redis), app.processors["bill"]
    await join(scripts, processor, 500)
    assert await redis.exists(keys.plan(processor.group))
    assert await remove(scripts, processor) == (3, 0)
    assert scripts.called.count("revoke") == 1
    for key in (keys.plan, keys.members, keys.sessions):
        assert not await redis.exists(key(processor.group))
