"""What waits for a full stream is told in few lines, however many partitions wait."""

from __future__ import annotations

import pytest

from runnel.errors import Full
from runnel.worker.full_targets import FullTargets

FULL = Full("FULL", {"processor": "mailer"})


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each.getMessage() for each in caplog.records]
    caplog.clear()
    return found


def test_many_refusals_are_told_in_few_lines_and_the_end_in_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = FullTargets("orders")
    for _ in range(10):
        for partition in range(100):
            it.refused(partition, "mails", f"target {partition % 4}", FULL)
    found = lines(caplog)
    assert len(found) == 10, "after 1, 2, 4 … 512"
    assert found[0] == (
        "processor orders: no room in mails, because the registered processor mailer has not "
        "committed its oldest events; what it has emitted from 1 partition waits, and goes on once "
        "there is room"
    )
    assert "from 100 partitions waits" in found[-1]
    for partition in range(100):
        assert lines(caplog) == []
        it.over(partition, "mails", f"target {partition % 4}")
    assert lines(caplog) == ["processor orders: there is room again in mails"]
    it.over(0, "mails", "target 0")
    assert lines(caplog) == []


def test_streams_are_told_apart_and_partitions_that_left_wait_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    it = FullTargets("orders")
    it.refused(0, "mails", "a", FULL)
    it.refused(0, "alerts", "b", FULL)
    it.refused(1, "mails", "a", FULL)
    assert len(lines(caplog)) == 3
    it.left(0)
    it.over(1, "mails", "a")
    assert lines(caplog) == ["processor orders: there is room again in mails"]
    it.refused(2, "alerts", "b", FULL)
    assert len(lines(caplog)) == 1, "it begins again"
