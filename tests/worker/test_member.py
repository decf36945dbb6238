"""A member joins, works and leaves; its log lines name their processor and partition."""

from __future__ import annotations

import logging

import pytest
from redis.asyncio import Redis

from runnel import Events
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until


async def test_every_line_has_its_processor_and_the_lines_of_a_partition_that_too(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "runnel.worker")

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 1:
                raise ValueError("on purpose")

    ledger.processor(work, retries=1, exception_policy="ignore")
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it runs")
        await redis.xgroup_destroy(ledger.log, "work")
        await ledger.send(3)
        await until(lambda: "restored" in caplog.text, "it restores what was lost")
    lines = [each for each in caplog.records if each.name == "runnel.worker"]
    assert lines
    for line in lines:
        fields = vars(line)
        assert fields.get("processor") == "work", line.getMessage()
        assert fields.get("partition") == 0 or "partitions" in fields, line.getMessage()
