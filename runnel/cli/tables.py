"""The tables of `runnel inspect`, and how values are written in them. No I/O.

Nothing is shortened, because a part of an id is useless: a table is as wide as its cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import tabulate

from runnel.log import one_line
from runnel.operations.partition_ranges import ranges

tabulate.MIN_PADDING = 0  # tabulate has no argument for it. By default, heads are two wider.

Json = dict[str, Any]

#: States of a partition whose owner processes events.
_PROCESSED = ("owned", "moving")
COLOURS = {
    "ok": "green",
    "owned": "green",
    "paused": "yellow",
    "moving": "yellow",
    "degraded": "yellow",
    "unassigned": "yellow",
    "stalled": "red",
    "quarantined": "red",
    "down": "red",
}


def processors(seen: Json) -> list[str]:
    """One row for each processor."""
    return table(
        "PROCESSOR STREAM STATE PARTITIONS OWNED MEMBERS LAG BEHIND DEAD",
        [
            (
                f"{each['app']}/{each['name']}",
                each["stream"],
                each["state"],
                len(each["partitions"]),
                sum(1 for row in each["partitions"] if row["owner"]),
                sum(
                    1
                    for member in seen["members"]
                    if (member["app"], member["processor"]) == (each["app"], each["name"])
                ),
                each["lag_events"],
                duration(each["lag_ms"]),
                "-" if each["dead_letters"] is None else each["dead_letters"]["waiting"],
            )
            for each in seen["processors"]
        ],
    )


def partitions(processor: Json, wide: bool) -> list[str]:
    """One row for each partition of a processor."""
    heads = "P STATE OWNER LAG BEHIND CURRENT LOST CHECKPOINT"
    if wide:
        heads += " LAST EPOCH SESSION PROCESSED ATTEMPTS ERROR"
    rows = []
    for row in processor["partitions"]:
        owner = row["owner"]
        cells: tuple[Any, ...] = (
            row["id"],
            row["state"],
            owner or "-",
            row["lag_events"],
            duration(row["lag_ms"]),
            duration(row["current_event_ms"]) if row["state"] in _PROCESSED else "-",
            row["lost"],
            row["checkpoint"],
        )
        if wide:
            cells += (
                row["last"],
                row["epoch"] or "-",
                duration(row["session_left_ms"]) if owner else "-",
                row["processed"],
                row["attempts"],
                error_text(row),
            )
        rows.append(cells)
    return table(heads, rows)


def kept(seen: Json) -> list[str]:
    """One row for each table that a processor writes."""
    return table(
        "TABLE WRITER KEYS BYTES",
        [
            (each["name"], f"{found['app']}/{found['name']}", each["keys"], each["bytes"])
            for found in seen["processors"]
            for each in found["tables"]
        ],
    )


def members(seen: Json, wide: bool) -> list[str]:
    """One row for each member of each group."""
    heads = "MEMBER PROCESSOR HOST:PID HEARTBEAT PARTITIONS"
    return table(
        f"{heads} LANG VERSION" if wide else heads,
        [
            (
                each["id"],
                f"{each['app']}/{each['processor']}",
                f"{value_text(each['host'])}:{value_text(each['pid'])}",
                f"{duration(each['last_heartbeat_ms'])} ago",
                ranges(each["partitions"]) or "-",
                *((each["lang"], each["version"]) if wide else ()),
            )
            for each in seen["members"]
        ],
    )


def streams(seen: Json) -> list[str]:
    """One row for each stream; with delayed events, if any wait."""
    delayed = any(each["delayed"] for each in seen["streams"])
    return table(
        "STREAM PARTITIONS LENGTH OLDEST" + " DELAYED NEXT" * delayed,
        [
            (
                f"{each['app']}/{each['name']}",
                each["partition_count"],
                each["length"],
                duration(each["oldest_ms"]) if each["length"] else "-",
                *((each["delayed"], _next_due(each, seen["at_ms"])) if delayed else ()),
            )
            for each in seen["streams"]
        ],
    )


def _next_due(stream: Json, now: int) -> str:
    due = stream["delayed_due_ms"]
    if due is None:
        return "-"
    return f"in {duration(due - now)}" if due > now else f"{duration(now - due)} overdue"


def table(heads: str, rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Aligned columns under their heads."""
    cells = [[_coloured(value_text(cell)) for cell in row] for row in rows]
    titles = [click.style(head, bold=True) for head in heads.split()]
    text = tabulate.tabulate(cells, titles, tablefmt="plain", disable_numparse=True)
    return [line.rstrip() for line in text.splitlines()]


def _coloured(cell: str) -> str:
    colour = COLOURS.get(cell)
    return click.style(cell, fg=colour) if colour else cell


def value_text(value: Any) -> str:
    """A value as text, a question mark if it is unknown."""
    return "?" if value is None else str(value)


def duration(ms: int | None) -> str:
    """A time in its two largest units."""
    if ms is None:
        return "?"
    if ms < 1000:
        return f"{ms}ms" if ms else "0"
    seconds = ms // 1000
    units = [("d", 86400), ("h", 3600), ("m", 60), ("s", 1)]
    at = next(i for i, (_, size) in enumerate(units) if seconds >= size)
    parts = []
    for unit, size in units[at : at + 2]:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def error_text(row: Json) -> str:
    """The error of a partition, in one line; empty if it has none."""
    error = row["error"]
    if not error:
        return ""
    at = f" at {error['event']}" if error["event"] else ""
    return one_line(f"{error['type']}{at}: {error['message']}")
