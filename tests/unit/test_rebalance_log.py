"""A rebalance is one log line, and so are leases that were lost for one reason."""

from __future__ import annotations

import asyncio
import logging

import pytest

from runnel.errors import Conflict, Fenced, ProtocolError
from runnel.log import about
from runnel.worker import rebalance_log
from runnel.worker.rebalance_log import Moves, watch
from tests.worker.workers import until


def texts(said: list[logging.LogRecord]) -> list[str]:
    return [each.getMessage() for each in said]


async def test_the_line_does_not_have_the_partition_that_moved_last_as_a_field(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    moves = Moves("work", lambda: [1], 4)

    async def claim() -> None:
        about(partition=1)
        moves.claimed()

    async def work() -> None:
        about(processor="work")
        watch(moves)
        await asyncio.create_task(claim())

    await asyncio.create_task(work())
    await until(lambda: caplog.records, "it is logged")
    (line,) = caplog.records
    assert line.message == "processor work: claimed 1: now holds 1 (1 of 4)"
    assert vars(line)["processor"] == "work"
    assert "partition" not in vars(line)


async def test_a_rebalance_is_one_line(
    said: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rebalance_log, "SETTLED", 0.01)
    held = set(range(16))
    moves = Moves("orders", lambda: held, 16)
    for partition in range(8, 16):
        held.remove(partition)
        moves.released()
        await asyncio.sleep(0)
    moves.log()
    moves.log()
    assert texts(said) == ["processor orders: released 8: now holds 0-7 (8 of 16)"]
    assert getattr(said[0], "partitions", None) == list(range(8))
    for partition in (9, 11):
        held.add(partition)
        moves.claimed(lost_owner="w-1" if partition == 11 else "")
    held.remove(0)
    moves.released()
    await asyncio.sleep(0.2)  # It is logged without a call.
    assert texts(said)[1] == (
        "processor orders: released 1, claimed 2, 1 of them from w-1 without a "
        "release: now holds 1-7,9,11 (9 of 16)"
    )
    assert [each.levelname for each in said] == ["INFO", "WARNING"]
    held.clear()
    for _ in range(9):
        moves.released()
    moves.log()
    assert texts(said)[2] == "processor orders: released 9: now holds none (0 of 16)"


@pytest.mark.parametrize(
    ("refusal", "why"),
    [
        (Fenced("FENCED", {}), "another member has claimed it since, or an operator has moved it"),
        (Conflict("CONFLICT stored=1-0", {}), "CONFLICT stored=1-0"),
    ],
)
async def test_what_is_lost_for_one_reason_is_one_line(
    said: list[logging.LogRecord], refusal: ProtocolError, why: str
) -> None:
    moves = Moves("orders", list, 16)
    rebalance_log.watch(moves)
    for partition in (3, 1, 2, 9):
        rebalance_log.lost(partition, refusal)
        moves.released()
    moves.log()
    assert texts(said) == [
        f"processor orders has lost the lease on partitions 1-3,9: {why}",
        "processor orders: released 4: now holds none (0 of 16)",
    ]
