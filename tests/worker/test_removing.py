"""Removing a processor waits until its workers have left."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.operations import admin
from runnel.operations.removing import remove
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from tests.worker.inside import Item, Ledger, owned
from tests.worker.workers import until


async def group_keys(redis: Redis, processor: Processor) -> int:
    group = processor.group
    return int(await redis.exists(keys.plan(group), keys.members(group), keys.sessions(group)))


async def test_remove_waits_until_running_workers_have_left_and_forgets_the_group(
    redis: Redis, redis_url: str, ledger: Ledger
) -> None:
    ledger.processor()
    other: list[int] = []

    @ledger.app.on(ledger.items, name="other")
    async def more(item: Item) -> None:
        other.append(item.number)

    await ledger.send(1)
    work = ledger.app.processors["work"]
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it runs")
        assert await group_keys(redis, work)
        assert await remove(Scripts(redis), work) == (1, 0)
        assert not await group_keys(redis, work)
        await ledger.send(2)
        await until(lambda: other == [1, 2], "the other processor continues")
    assert not await group_keys(redis, work)
    assert ledger.seen in ([], [1])


async def test_remove_says_how_many_members_have_not_left(
    redis: Redis, redis_url: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.operations.removing._TIME_TO_NOTICE", 0.0)
    ledger.processor()
    work = ledger.app.processors["work"]
    scripts = Scripts(redis)
    await admin.add(scripts, work)
    stays = ("elsewhere", "incarnation", "host 1 python 1")
    call = protocol.sync(work.group, 1, (100, 100, 0), stays, 1, "stay", (), ())
    beats = asyncio.create_task(_beat(scripts, work, stays))
    await scripts.call(call)
    try:
        assert await remove(scripts, work) == (1, 1)
        assert await group_keys(redis, work)
    finally:
        beats.cancel()
    await until(lambda: gone(scripts, work), "its session ends")
    assert await remove(scripts, work) == (0, 0)
    assert not await group_keys(redis, work)


async def _beat(scripts: Scripts, work: Processor, member: tuple[str, str, str]) -> None:
    for number in range(2, 1000):
        await asyncio.sleep(0.02)
        await scripts.call(
            protocol.sync(work.group, 1, (1000, 100, 0), member, number, "stay", (), ())
        )


async def gone(scripts: Scripts, work: Processor) -> bool:
    group_description = protocol.read_describe_group(
        await scripts.call(protocol.describe_group(work.group))
    )
    return all(member.left_ms <= 0 for member in group_description.members)
