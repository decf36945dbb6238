"""A worker that was not heard of in time is named before its session ends."""

from __future__ import annotations

from typing import Any

from runnel.cli import silence, tables, view
from tests.cli.reports import partition, report


def heard(ago_ms: int, left_ms: int) -> dict[str, Any]:
    """A report on a worker that was heard of so long ago."""
    seen = report("ok", partition(0, session_left_ms=left_ms))
    seen["members"][0]["last_heartbeat_ms"] = ago_ms
    return seen


def test_a_worker_that_is_heard_of_in_time_is_not_silent() -> None:
    seen = heard(3400, 6600)
    assert silence.silent(seen) == 0
    assert "3s ago" in "\n".join(tables.members(seen, False))
    assert "silent" not in view.headline(seen, "redis://h")


def test_one_that_is_not_has_a_time_at_which_its_partitions_move() -> None:
    seen = heard(7000, 3000)
    assert "7s ago, session ends in 3s" in "\n".join(tables.members(seen, False))
    assert "1 worker, 1 silent" in view.headline(seen, "redis://h")


def test_one_without_partitions_has_nothing_that_moves() -> None:
    seen = heard(7000, 3000)
    seen["processors"][0]["partitions"][0]["owner"] = None
    assert silence.silent(seen) == 0
