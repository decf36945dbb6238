"""The report of `inspect` fits on a terminal, with what is wrong first."""

from __future__ import annotations

from typing import Any

import click
import pytest

from runnel.cli import folded
from runnel.cli.names import Names
from tests.cli.reports import ERROR, partition, report, stream

NAMES = Names("example", "example:app")
URL = "redis://localhost:6379"
#: Partitions that need somebody.
FAULTS: list[dict[str, Any]] = [
    {"state": "quarantined", "error": {**ERROR, "message": "no price " * 40}},
    {"state": "unassigned", "owner": None},
    {"parked": 3, "parked_keys": 1},
    {"failing": True, "attempts": 1, "error": ERROR},
    {"lost": 4},
]


def seen(processors: int, partitions: int, wrong: int) -> dict[str, Any]:
    """A report; the last `wrong` of its processors have faults in their last partitions."""
    found = report("ok", partition())
    base, members = found["processors"][0], found["members"]
    found["processors"], found["members"], found["streams"] = [], [], []
    for number in range(processors):
        rows = [partition(p) for p in range(partitions)]
        if number >= processors - wrong:
            for p, fault in enumerate(FAULTS[:partitions], partitions - len(FAULTS)):
                rows[p] = partition(p, **fault)
        state = "degraded" if number >= processors - wrong else "ok"
        name = f"billing-{number}"
        found["processors"].append({**base, "name": name, "partitions": rows, "state": state})
        found["members"] += [{**members[0], "processor": name}]
        held = stream(f"orders-{number}", partition_count=partitions, length=3, oldest_ms=5)
        found["streams"].append({**held, "retain": "until_full"})
    return found


def shown(report: dict[str, Any], width: int = 80, height: int = 24) -> list[str]:
    """The lines on a terminal, without colours."""
    lines = folded.lines(report, URL, NAMES, width, height)
    return [click.unstyle(line) for line in lines]


@pytest.mark.parametrize("size", [(80, 24), (132, 50), (100, 30)])
@pytest.mark.parametrize("partitions", [8, 1000])
@pytest.mark.parametrize(
    ("processors", "wrong"), [(1, 0), (1, 1), (3, 2), (40, 0), (40, 5), (40, 40)]
)
def test_it_fits_and_counts_what_it_leaves_out(
    processors: int, wrong: int, partitions: int, size: tuple[int, int]
) -> None:
    if processors * partitions > 10_000:
        partitions = 100
    width, height = size
    lines = shown(seen(processors, partitions, wrong), width, height)
    wrapped = sum(max(1, -(-len(line) // width)) for line in lines)
    assert wrapped <= height
    assert not [line for line in lines if len(line) > width and "    runnel " not in line]
    text = "\n".join(lines)
    if wrong:
        assert lines[0].startswith(f"DEGRADED: {wrong} of {processors} processors")
        # The worst ones first, with the next command.
        assert f"shop/billing-{processors - wrong} is degraded" in text
        assert f" example:billing-{processors - wrong}" in text.partition("PROCESSOR ")[0]
        assert text.index(" is degraded") < text.index("PROCESSOR ")
    else:
        assert lines[0].startswith("OK ")
    assert "--all shows them" in text or processors * partitions < 20


def test_what_is_left_out_is_counted_in_all() -> None:
    lines = shown(seen(40, 16, 5))
    assert "… and 3 more processors with a fault: --all shows them" in lines
    assert (
        lines[-1] == "640 partitions, 25 with a fault · 40 members · 40 streams: --all shows them"
    )
    at = next(n for n, line in enumerate(lines) if line.startswith("PROCESSOR "))
    rows = [line for line in lines[at + 1 :] if line.startswith("shop/billing-")]
    assert all("degraded" in row for row in rows[:5])
    assert {row.split()[5] for row in rows} == {"1"}, "each has one member"
    assert f"… and {40 - len(rows)} processors" in "\n".join(lines)
    lines = shown(seen(1, 1000, 1), height=40)
    at = next(n for n, line in enumerate(lines) if line.startswith("PARTITION "))
    assert [line.split()[1] for line in lines[at + 1 : at + 7]] == [
        *("995", "996", "997", "998", "999"),
        "0",
    ]
    assert any(line.endswith(" partitions without a fault: --all shows them") for line in lines)


def test_a_quiet_app_is_shown_whole_if_there_is_room() -> None:
    lines = shown(seen(1, 8, 0), height=30)
    assert not [line for line in lines if "--all" in line]
    assert sum(line.startswith("shop/billing-0 ") for line in lines) == 9
    nothing = {**seen(1, 8, 0), "processors": [], "members": [], "streams": []}
    assert shown(nothing)[0].startswith("EMPTY: nothing is registered yet · ")
    assert "  runnel init NAME   # writes a first app, if you have none" in shown(nothing)


def test_a_small_window_still_has_the_state_and_a_command() -> None:
    lines = shown(seen(3, 8, 1), 40, 10)
    assert lines[0].startswith("DEGRADED: 1 of 3 processors")
    assert any("runnel processor " in line for line in lines)


def test_what_is_said_of_a_command_is_below_it_if_both_are_too_wide() -> None:
    """It may say when the command is wrong."""
    report = seen(1, 8, 0)
    report["processors"][0]["partitions"][0] = partition(0, lost=3)
    lines = shown(report)
    at = lines.index("    runnel processor acknowledge example:billing-0")
    assert lines[at + 1] == "      # once they are sent again, or given up"
    assert f"{lines[at]}   {lines[at + 1].strip()}" in shown(report, width=100)


def test_colours_end_where_a_line_is_cut() -> None:
    report = seen(1, 8, 1)
    for line in folded.lines(report, URL, NAMES, 30, 40):
        assert line.count("\x1b[0m") >= (1 if "\x1b[" in line else 0)
        assert line.rstrip("…").endswith("\x1b[0m") or "\x1b" not in line[-6:]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_partition_that_needs_somebody_is_wrong(fault: dict[str, Any]) -> None:
    assert folded.is_wrong(partition(0, **fault))
    assert not folded.is_wrong(partition(0))


def test_what_is_wrong_with_streams_is_shown_too() -> None:
    report = seen(3, 8, 1)
    report["streams"] = [stream(f"lost-{number}", length=7) for number in range(9)]
    lines = shown(report)
    assert "shop/lost-0 is read by nobody" in lines
    assert any(line.startswith("… and ") and "more like these: --all" in line for line in lines)
    assert sum(max(1, -(-len(line) // 80)) for line in lines) <= 24
    assert any("runnel processor" in line for line in lines)
