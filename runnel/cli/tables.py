"""The tables of `runnel inspect`, and how values are written in them. No I/O.

Nothing is shortened, because a part of an id is useless: a table is as wide as its cells.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import click

from runnel.cli.silence import session_left_ms
from runnel.log import one_line
from runnel.operations.partition_ranges import ranges

Json = dict[str, Any]

#: Column -> what it shows. An unknown value is a question mark.
COLUMNS = {
    "PROCESSOR": "app and name; its STATE is ok, degraded, stalled or down",
    "STREAM": "the stream that it reads",
    "PARTITIONS": "how many, or which ones a member holds",
    "OWNED": "partitions that a live worker holds",
    "MEMBERS": "live workers",
    "LAG": "events after the checkpoint",
    "BEHIND": "age of the first of them",
    "DEAD": "dead letters that no processor has read; - if it keeps none",
    "TABLE": "a table, the processor that writes it, its KEYS and BYTES",
    "MEMBER": "a worker, its HOST and process, what it runs (LANG, VERSION, SCRIPTS)",
    "HEARTBEAT": "when it was heard of last; a session later it counts as dead",
    "P": "partition, also PARTITION; STATE: owned, moving, unassigned, paused or quarantined",
    "OWNER": "the live member that holds it",
    "CURRENT": "for how long the owner has had the event that it is at",
    "IN-HAND": "events that the owner has begun; AHEAD: of these, those that are "
    "finished, and wait for earlier ones",
    "LOST": "events that disappeared before they were processed",
    "CHECKPOINT": "the last event before which nothing is left to process",
    "LAST": "the newest event of the partition",
    "EPOCH": "of the lease; it rises with each claim",
    "SESSION": "time left until the owner counts as dead",
    "PROCESSED": "events that were committed",
    "ATTEMPTS": "how often the event has failed, and its last ERROR",
    "LENGTH": "events in a stream; OLDEST: age of the oldest one",
    "DELAYED": "events that are due later; NEXT: when the first one is",
}
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


def explained() -> str:
    """The columns, for the help of the command."""
    width = max(map(len, COLUMNS)) + 2
    found = ["\b", "Columns:"]
    for name, text in COLUMNS.items():
        first, *more = textwrap.wrap(text, 76 - width)
        found += [f"  {name:{width}}{first}", *(" " * (width + 2) + each for each in more)]
    return "\n".join(found) + "\n\n"


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
    """One row for each partition of a processor; with the events in hand, if its owner tells."""
    several = any(row["in_hand"] is not None for row in processor["partitions"])
    heads = "P STATE OWNER LAG BEHIND CURRENT" + " IN-HAND AHEAD" * several + " LOST CHECKPOINT"
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
            *((_held(row, "in_hand"), _held(row, "finished_ahead")) if several else ()),
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


def partitions_of_several(pairs: Iterable[tuple[Json, Json]]) -> list[str]:
    """One row for each pair of a processor and one of its partitions."""
    return table(
        "PARTITION STATE LAG BEHIND CURRENT OWNER",
        [
            (
                f"{processor['app']}/{processor['name']} {row['id']}",
                row["state"],
                row["lag_events"],
                duration(row["lag_ms"]),
                duration(row["current_event_ms"]) if row["state"] in _PROCESSED else "-",
                row["owner"] or "-",
            )
            for processor, row in pairs
        ],
    )


def _held(row: Json, name: str) -> Any:
    """A figure that the owner tells, or "-" without an owner."""
    return row[name] if row["state"] in _PROCESSED else "-"


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


def _heard(member: Json, seen: Json) -> str:
    ago = f"{duration(member['last_heartbeat_ms'])} ago"
    left = session_left_ms(member, seen)
    return ago if left is None else f"{ago}, session ends in {duration(left)}"


def members(seen: Json, wide: bool) -> list[str]:
    """One row for each member of each group; if `wide`, with what it runs."""
    heads = "MEMBER PROCESSOR HOST:PID HEARTBEAT PARTITIONS"
    return table(
        f"{heads} LANG VERSION SCRIPTS" if wide else heads,
        [
            (
                each["id"],
                f"{each['app']}/{each['processor']}",
                f"{value_text(each['host'])}:{value_text(each['pid'])}",
                _heard(each, seen),
                ranges(each["partitions"]) or "-",
                *((each["lang"], each["version"], each["scripts"]) if wide else ()),
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
    import tabulate  # Slow to import, with its table of all characters; JSON and probes need none.

    tabulate.MIN_PADDING = 0  # It has no argument for it. By default, heads are two wider.
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
