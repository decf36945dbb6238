"""The tables of `runnel inspect` shorten nothing, and say what is unknown."""

from __future__ import annotations

from typing import Any

import click
import pytest

from runnel.cli import tables, view
from runnel.cli.names import Names
from tests.cli.reports import ERROR, partition, report


def lines(seen: dict[str, Any], **options: Any) -> list[str]:
    """The report for people, without colours."""
    names = Names("example", "example:app")
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


def test_events_in_hand_have_columns_if_an_owner_tells_of_them() -> None:
    silent = "\n".join(lines(report("ok", partition(0))))
    assert "IN-HAND" not in silent
    rows = [
        partition(0, in_hand=64, finished_ahead=12),
        partition(1),
        partition(2, state="paused"),
    ]
    told = lines(report("ok", *rows))
    (at,) = [i for i, line in enumerate(told) if line.startswith("P  STATE")]
    column = told[at].split().index("IN-HAND")
    assert [line.split()[column : column + 2] for line in told[at : at + 4]] == [
        ["IN-HAND", "AHEAD"],
        ["64", "12"],
        ["?", "?"],
        ["-", "-"],
    ]


def test_durations_are_short() -> None:
    expected = {None: "?", 0: "0", 7: "7ms", 1000: "1s", 61_000: "1m1s", 3_600_000: "1h"}
    assert {ms: tables.duration(ms) for ms in expected} == expected
    assert tables.duration(90_061_000) == "1d1h"


def rows(table: list[str]) -> list[list[str]]:
    """The cells of a table, without its heads."""
    return [click.unstyle(line).split() for line in table[1:]]


def test_a_processor_has_its_own_members_and_partitions() -> None:
    seen = report("ok", partition(0), partition(1, state="unassigned", owner=None))
    other = {**seen["processors"][0], "name": "shipping", "lag_events": None, "lag_ms": None}
    other["dead_letters"] = {"stream": "dead", "waiting": 0, "readers": []}
    seen["processors"].append(other)
    billing, shipping = rows(tables.processors(seen))
    assert billing == ["shop/billing", "orders", "ok", "2", "1", "1", "2408", "1m1s", "-"]
    assert shipping == ["shop/shipping", "orders", "ok", "2", "1", "0", "?", "?", "0"]


def test_a_partition_that_nobody_processes_has_no_owner_and_no_current_event() -> None:
    error = {**ERROR, "event": None}
    quarantined = partition(
        7, state="quarantined", owner=None, epoch=None, attempts=3, lag_ms=None, error=error
    )
    processor = report("degraded", partition(6), quarantined)["processors"][0]
    owned, other = rows(tables.partitions(processor, wide=True))
    ids = ["1795435471123-0", "1795435471999-12"]
    owner = ["billing-worker-5d9c7b9f4-abcde", "1204", "1m1s", "900ms", "0"]
    assert owned == ["6", "owned", *owner, *ids, "1795435471123", "9s", "40213", "0"]
    assert other == [
        *("7", "quarantined", "-", "1204", "?", "-", "0"),
        *(*ids, "-", "-", "40213", "3", "ValueError:", "no", "price"),
    ]
    assert len(rows(tables.partitions(processor, wide=False))[1]) == 8


def test_a_member_without_partitions_or_a_known_process_is_shown() -> None:
    seen = report()
    idle: dict[str, Any] = {
        "id": "w2",
        "partitions": [],
        "pid": None,
        "lang": None,
        "version": None,
        "scripts": None,
    }
    seen["members"].append({**seen["members"][0], **idle})
    working, waiting = rows(tables.members(seen, wide=True))
    runs = ["python", "1.0.0", "4fbc2d1"]
    assert working[1:] == ["shop/billing", "node-7:41", "1s", "ago", "0", *runs]
    assert waiting == ["w2", "shop/billing", "node-7:?", "1s", "ago", "-", "?", "?", "?"]


def stream(name: str, **fields: object) -> dict[str, object]:
    """A stream of a report."""
    return {
        "app": "shop",
        "name": name,
        "partition_count": 4,
        "length": 3,
        "oldest_ms": 5000,
        "delayed": 0,
        "delayed_due_ms": None,
        **fields,
    }


def test_a_stream_has_its_length_if_it_is_known() -> None:
    streams = [stream("orders"), stream("parcels", length=None), stream("new", length=0)]
    assert rows(tables.streams({"streams": streams})) == [
        ["shop/orders", "4", "3", "5s"],
        ["shop/parcels", "4", "?", "-"],
        ["shop/new", "4", "0", "-"],
    ]


def test_delayed_events_of_a_stream_are_shown_with_when_the_next_is_due() -> None:
    streams = [
        stream("a", delayed=2, delayed_due_ms=70_000),
        stream("b"),
        stream("c", delayed=1, delayed_due_ms=5_000),
    ]
    assert rows(tables.streams({"streams": streams, "at_ms": 10_000})) == [
        ["shop/a", "4", "3", "5s", "2", "in", "1m"],
        ["shop/b", "4", "3", "5s", "0", "-"],
        ["shop/c", "4", "3", "5s", "1", "5s", "overdue"],
    ]


def test_a_state_is_coloured_and_no_line_ends_with_spaces() -> None:
    table = tables.table("A B", [("paused", ""), ("x", "other")])
    assert table == [
        click.style("A", bold=True) + "       " + click.style("B", bold=True),
        click.style("paused", fg="yellow"),
        "x       other",
    ]


def test_the_tables_of_processors_are_shown_if_there_are_any() -> None:
    seen = report()
    assert not any(line.startswith("TABLE") for line in lines(seen))
    seen["processors"][0]["tables"] = [
        {"name": "totals", "keys": 12, "bytes": 3456},
        {"name": "limits", "keys": 0, "bytes": None},
    ]
    assert rows(tables.kept(seen)) == [
        ["totals", "shop/billing", "12", "3456"],
        ["limits", "shop/billing", "0", "?"],
    ]
    assert any(line.startswith("TABLE") for line in lines(seen))
