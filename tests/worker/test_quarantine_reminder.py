"""A worker logs its quarantined partitions again and again."""

from __future__ import annotations

import logging

import pytest
from redis.asyncio import Redis

from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker import quarantine_reminder
from tests.worker.inside import Item, Ledger
from tests.worker.workers import until


async def test_a_worker_with_quarantined_partitions_logs_them_again_in_one_line(
    redis: Redis,
    redis_url: str,
    app_name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quarantine_reminder, "FIRST", 0.05)
    monkeypatch.setattr(quarantine_reminder, "EVERY", 0.05)
    ledger = Ledger(app_name, redis_url)
    many = ledger.app.stream("many", record=Item, partition_by="number", partition_count=6)

    broken = True

    @ledger.app.on(many, retries=0)
    async def picky(item: Item) -> None:
        if broken:
            raise ValueError("a fault on purpose")

    await many.send(*(Item(number=n) for n in range(40)))
    caplog.set_level(logging.WARNING, "runnel.worker")
    async with ledger.running():
        await until(lambda: reminders(caplog, "partitions 0-5 are"), "it is logged")
        caplog.clear()
        await until(lambda: len(reminders(caplog, "partitions 0-5 are")) > 1, "and logged again")
        assert "resume tests.worker.test_quarantine_reminder:picky --partition 0-5`" in caplog.text
        broken = False
        await admin.resume(Scripts(redis), ledger.app.processors["picky"], [1, 2, 3, 4, 5])
        await until(
            lambda: reminders(caplog, "partition 0 is quarantined"), "the remaining one is logged"
        )


def reminders(caplog: pytest.LogCaptureFixture, said: str) -> list[str]:
    found = [each.getMessage() for each in caplog.records]
    return [each for each in found if said in each and "nothing after" in each]
