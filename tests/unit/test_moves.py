"""What is said of partitions that move."""

from __future__ import annotations

import asyncio

import pytest

from runnel.log import about
from runnel.worker.rebalance_log import Moves, watch
from tests.worker.workers import until


async def test_a_line_of_the_group_is_not_about_the_partition_that_moved_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    moves = Moves("work", lambda: [1], 4)

    async def take() -> None:
        about(partition=1)
        moves.took()

    async def work() -> None:
        about(processor="work")
        watch(moves)
        await asyncio.create_task(take())

    await asyncio.create_task(work())
    await until(lambda: caplog.records, "it is told")
    (line,) = caplog.records
    assert line.message == "processor work: gave 0, took 1: now 1 (1 of 4 claimed)"
    assert vars(line)["processor"] == "work"
    assert "partition" not in vars(line)
