"""The tables of `runnel inspect` shorten nothing, and common ones fit into 80 columns."""

from __future__ import annotations

from typing import Any

import click
import pytest

from runnel.cli import tables, view
from tests.cli.reports import ERROR, partition, report


def lines(seen: dict[str, Any], **options: Any) -> list[str]:
    """The report for people, without colours."""
    names = view.Names("example", "example:app")
    output = view.lines(seen, "redis://h:6379", names, **options)
    return [click.unstyle(line) for line in output]


@pytest.mark.parametrize("wide", [False, True])
def test_no_id_is_ever_shortened(wide: bool) -> None:
    output = "\n".join(lines(report("degraded", partition(12345, error=ERROR)), wide=wide))
    for whole in ("billing-worker-5d9c7b9f4-abcde", "1795435471123-0", "1795435471200-0"):
        assert whole in output
    assert "…" not in output
    assert ("1795435471999-12" in output) is wide


def test_common_tables_fit_into_80_columns() -> None:
    rows = [partition(n, owner="w-359b9b", lag_events=12345) for n in range(100)]
    seen = report("ok", *rows)
    assert max(map(len, lines(seen)[1:])) <= 80


def test_durations_are_short() -> None:
    expected = {None: "?", 0: "0", 7: "7ms", 1000: "1s", 61_000: "1m1s", 3_600_000: "1h"}
    assert {ms: tables.duration(ms) for ms in expected} == expected
    assert tables.duration(90_061_000) == "1d1h"
