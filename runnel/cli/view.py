"""Formats the report of `runnel inspect` for people: problems first, then tables. No I/O.

Nothing is shortened, because a part of an id is useless: a table is as wide as its cells.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click
import tabulate

from runnel.log import one_line
from runnel.operations.figures import failed_before_first
from runnel.operations.partition_ranges import ranges, those

tabulate.MIN_PADDING = 0  # tabulate has no argument for it. By default, heads are two wider.

Json = dict[str, Any]

#: States of a processor, from the best to the worst.
STATES = ("ok", "degraded", "stalled", "down")
#: States of a partition whose owner processes events.
_PROCESSED = ("owned", "moving")
_COLOURS = {
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


@dataclass(frozen=True)
class Names:
    """How commands name the module and the app; the defaults are for an app without code."""

    module: str = "MODULE"
    app: str = "MODULE:APP"


def lines(seen: Json, url: str, names: Names, wide: bool = False) -> list[str]:
    """The lines of a report. `wide` adds columns that are seldom needed."""
    found = [headline(seen, url)]
    for processor in seen["processors"]:
        found += problems(processor, seen, names)
    if seen["processors"]:
        found += ["", *processors(seen)]
    if seen["members"]:
        found += ["", *members(seen, wide)]
    for each in seen["processors"]:
        found += ["", f"{each['app']}/{each['name']}", *partitions(each, wide)]
    if seen["streams"]:
        found += ["", *streams(seen)]
    return found


def headline(seen: Json, url: str) -> str:
    """The worst state, the lag, the workers and the server, in one line."""
    server, totals = seen["server"], seen["totals"]
    states = [each["state"] for each in seen["processors"]]
    worst = max(states, key=STATES.index, default=None)
    if worst is None:
        summary = click.style("EMPTY", bold=True) + ": nothing is registered yet"
    elif worst == "ok":
        summary = click.style("OK", fg="green", bold=True)
    else:
        count = sum(1 for each in states if each != "ok")
        summary = click.style(worst.upper(), fg=_COLOURS[worst], bold=True)
        summary += f": {count} of {len(states)} processors"
    parts = [summary]
    if worst is not None:
        behind = totals["lag_ms"]
        late = f", {duration(behind)} behind" if behind else ""
        parts.append(f"lag {value_text(totals['lag_events'])}{late}")
        if totals["dead_letters"] != 0:
            parts.append(f"dead letters {value_text(totals['dead_letters'])}")
        parts.append(f"{totals['members']} worker{'' if totals['members'] == 1 else 's'}")
    mode = "" if server["mode"] == "standalone" else f" {server['mode']}"
    parts.append(f"{server['kind']} {value_text(server['version'])}{mode} at {url}")
    parts.append(time.strftime("%H:%M:%SZ", time.gmtime(seen["at_ms"] / 1000)))
    return " · ".join(parts)


def problems(processor: Json, seen: Json, names: Names) -> list[str]:
    """The problems of a processor, each with the command that helps."""
    rows, state = processor["partitions"], processor["state"]
    target = f"{names.module}:{processor['name']}"
    found: list[str] = []
    if state == "down":
        found += _down(processor, names)
    lost = [row for row in rows if row["lost"]]
    if lost:
        count = sum(row["lost"] for row in lost)
        found.append(f"{_those(lost)}: {count} events were LOST before they were processed")
    found += _quarantined(rows, target)
    found += _failing(rows, target)
    if state == "stalled":
        found += _stalled(rows, seen, processor)
    paused = [row for row in rows if row["state"] == "paused"]
    if paused:
        found += [f"{_those(paused)} paused by an operator", f"  runnel processor resume {target}"]
    unassigned = [row for row in rows if row["state"] == "unassigned"]
    if unassigned and state != "down":
        found.append(
            f"{_those(unassigned)} unassigned: a worker claims them within a heartbeat; if none "
            "does, see the workers' logs"
        )
    found += _dead_letters(processor["dead_letters"], target)
    if not found:
        return []
    head = f"{processor['app']}/{processor['name']} is {click.style(state, fg=_COLOURS[state])}"
    return ["", head, *(f"  {line}" for line in found)]


def _down(processor: Json, names: Names) -> list[str]:
    start = f"  runnel worker {names.app}"
    if all(row["checkpoint"] is None for row in processor["partitions"]):
        add = f"runnel processor add {names.module}:{processor['name']}"
        return ["it is not registered: no events are kept for it", f"{start}   (or {add})"]
    return [f"no live member; lag: {value_text(processor['lag_events'])} events", start]


def _quarantined(rows: list[Json], target: str) -> list[str]:
    quarantined = [row for row in rows if row["state"] == "quarantined"]
    if not quarantined:
        return []
    chosen = "" if len(quarantined) == len(rows) > 1 else f" --partition {_numbers(quarantined)}"
    failed = [row for row in quarantined if not _before_first(row)]
    found = [f"partition {row['id']} is quarantined: {_error(row)}" for row in failed]
    found += [f"{which} quarantined: {why}" for which, why in _failed_before_first(quarantined)]
    skip = "" if not failed else "   (--skip skips the failed events)"
    if len(failed) == 1:
        skip = "   (--skip skips the failed event)"
    return [*found, f"  runnel processor resume {target}{chosen}{skip}"]


def _before_first(row: Json) -> bool:
    """Did its handler fail before its first event?"""
    error = row["error"]
    return bool(error and failed_before_first(error["event"], row["checkpoint"]))


def _failed_before_first(rows: list[Json]) -> list[tuple[str, str]]:
    """The partitions whose handler failed before its first event, with the error. Most have the
    same one."""
    found: dict[str, list[Json]] = {}
    for row in filter(_before_first, rows):
        error = one_line(f"{row['error']['type']}: {row['error']['message']}")
        found.setdefault(f"the handler fails before its first event: {error}", []).append(row)
    return [(_those(several), why) for why, several in found.items()]


def _failing(rows: list[Json], target: str) -> list[str]:
    rows = [row for row in rows if row["state"] != "quarantined"]
    found = [f"{which}: {why}" for which, why in _failed_before_first(rows)]
    for row in rows:
        times = row["attempts"]
        if not row["error"] or _before_first(row):
            continue
        how_often = f"has failed {times} time{'' if times == 1 else 's'}" if times else "has failed"
        found.append(f"partition {row['id']} {how_often}: {_error(row)}")
    halted = [
        row for row in rows if row["state"] == "unassigned" and row["error"] and row["attempts"]
    ]
    if halted:
        chosen = _numbers(halted)
        found.append(
            f"  runnel processor resume {target} --partition {chosen} --skip   (skips the failed "
            "event; a worker that starts retries it)"
        )
    deaths = [row for row in rows if row["failing"] and not row["error"]]
    if deaths:
        found.append(
            f"{_those(deaths)}: workers died one after the other while they processed the next "
            "event: see the end of their logs, and their memory"
        )
    return found


def _dead_letters(found: Json | None, target: str) -> list[str]:
    if found is None or found["waiting"] == 0:
        return []
    waiting = value_text(found["waiting"])
    count = "1 dead letter waits" if waiting == "1" else f"{waiting} dead letters wait"
    readers = ", ".join(found["readers"])
    what = f"for {readers}" if readers else "and no processor reads the stream"
    return [f"{count} in {found['stream']}, {what}", f"  runnel processor dead-letters {target}"]


def _stalled(rows: list[Json], seen: Json, processor: Json) -> list[str]:
    hosts = {
        each["id"]: f"{each['host']}:{each['pid']}"
        for each in seen["members"]
        if (each["app"], each["processor"]) == (processor["app"], processor["name"])
    }
    slow = max(rows, key=lambda row: row["current_event_ms"] or 0)
    owner = slow["owner"]
    return [
        f"partition {slow['id']} has not moved for {duration(slow['current_event_ms'])}: {owner} "
        f"({hosts.get(owner, '?')}) is still processing the event after {slow['checkpoint']}",
        "  see what its handler waits for; if you stop that worker, the others take over",
    ]


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
                _error(row),
            )
        rows.append(cells)
    return table(heads, rows)


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
    """One row for each stream."""
    return table(
        "STREAM PARTITIONS LENGTH",
        [
            (f"{each['app']}/{each['name']}", each["partition_count"], each["length"])
            for each in seen["streams"]
        ],
    )


def table(heads: str, rows: Iterable[tuple[Any, ...]]) -> list[str]:
    """Aligned columns under their heads."""
    cells = [[_coloured(value_text(cell)) for cell in row] for row in rows]
    titles = [click.style(head, bold=True) for head in heads.split()]
    text = tabulate.tabulate(cells, titles, tablefmt="plain", disable_numparse=True)
    return [line.rstrip() for line in text.splitlines()]


def _coloured(cell: str) -> str:
    colour = _COLOURS.get(cell)
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


def _those(rows: list[Json]) -> str:
    return those(row["id"] for row in rows)


def _numbers(rows: list[Json]) -> str:
    return ranges(row["id"] for row in rows)


def _error(row: Json) -> str:
    error = row["error"]
    if not error:
        return ""
    at = f" at {error['event']}" if error["event"] else ""
    return one_line(f"{error['type']}{at}: {error['message']}")
