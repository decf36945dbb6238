"""The picture of `runnel inspect` for people: what is wrong first, then everything. No I/O.

Nothing is shortened, because half an id is of no use: a table is as wide as what it holds.
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

tabulate.MIN_PADDING = 0  # Its way to set it: else heads are two wider than they need to be.

Json = dict[str, Any]

#: From harmless to grave.
STATES = ("ok", "degraded", "stalled", "down")
#: States of a partition whose owner works on it.
_WORKED_ON = ("owned", "moving")
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
    """What the command line calls the app and its module, as far as that is known."""

    module: str = "MODULE"
    app: str = "MODULE:APP"


def picture(seen: Json, url: str, names: Names, wide: bool = False) -> list[str]:
    """The lines to show. `wide` adds the columns that are seldom needed."""
    lines = [headline(seen, url)]
    for processor in seen["processors"]:
        lines += trouble(processor, seen, names)
    if seen["processors"]:
        lines += ["", *processors(seen)]
    if seen["members"]:
        lines += ["", *members(seen, wide)]
    for each in seen["processors"]:
        lines += ["", f"{each['app']}/{each['name']}", *partitions(each, wide)]
    if seen["streams"]:
        lines += ["", *streams(seen)]
    return lines


def headline(seen: Json, url: str) -> str:
    """How things stand, in one line."""
    server, totals = seen["server"], seen["totals"]
    states = [each["state"] for each in seen["processors"]]
    worst = max(states, key=STATES.index, default=None)
    if worst is None:
        told = click.style("EMPTY", bold=True) + ": nothing is registered yet"
    elif worst == "ok":
        told = click.style("OK", fg="green", bold=True)
    else:
        count = sum(1 for each in states if each != "ok")
        told = click.style(worst.upper(), fg=_COLOURS[worst], bold=True)
        told += f": {count} of {len(states)} processors"
    parts = [told]
    if worst is not None:
        behind = totals["lag_ms"]
        late = f", {duration(behind)} behind" if behind else ""
        parts.append(f"lag {shown(totals['lag_events'])}{late}")
        if totals["dead_letters"] != 0:
            parts.append(f"dead letters {shown(totals['dead_letters'])}")
        parts.append(f"{totals['members']} worker{'' if totals['members'] == 1 else 's'}")
    mode = "" if server["mode"] == "standalone" else f" {server['mode']}"
    parts.append(f"{server['kind']} {shown(server['version'])}{mode} at {url}")
    parts.append(time.strftime("%H:%M:%SZ", time.gmtime(seen["at_ms"] / 1000)))
    return " · ".join(parts)


def trouble(processor: Json, seen: Json, names: Names) -> list[str]:
    """What is wrong with a processor and the command that helps; nothing if all is well."""
    rows, state = processor["partitions"], processor["state"]
    called = f"{names.module}:{processor['name']}"
    found: list[str] = []
    if state == "down":
        found += _down(processor, names)
    lost = [row for row in rows if row["lost"]]
    if lost:
        count = sum(row["lost"] for row in lost)
        found.append(f"{_those(lost)}: {count} events were LOST before they were processed")
    found += _quarantined(rows, called)
    found += _failing(rows, called)
    if state == "stalled":
        found += _stalled(rows, seen, processor)
    paused = [row for row in rows if row["state"] == "paused"]
    if paused:
        found += [f"{_those(paused)} paused by an operator", f"  runnel processor resume {called}"]
    free = [row for row in rows if row["state"] == "unassigned"]
    if free and state != "down":
        found.append(
            f"{_those(free)} unassigned: a worker takes them within a heartbeat; if none does, see "
            "the workers' logs"
        )
    found += _dead_letters(processor["dead_letters"], called)
    if not found:
        return []
    head = f"{processor['app']}/{processor['name']} is {click.style(state, fg=_COLOURS[state])}"
    return ["", head, *(f"  {line}" for line in found)]


def _down(processor: Json, names: Names) -> list[str]:
    start = f"  runnel worker {names.app}"
    if all(row["checkpoint"] is None for row in processor["partitions"]):
        add = f"runnel processor add {names.module}:{processor['name']}"
        return ["it is not registered: nothing is kept for it", f"{start}   (or {add})"]
    return [f"no live member; events that wait: {shown(processor['lag_events'])}", start]


def _quarantined(rows: list[Json], called: str) -> list[str]:
    stuck = [row for row in rows if row["state"] == "quarantined"]
    if not stuck:
        return []
    chosen = "" if len(stuck) == len(rows) > 1 else f" --partition {_numbers(stuck)}"
    failed = [row for row in stuck if not _before_first(row)]
    told = [f"partition {row['id']} is quarantined: {_error(row)}" for row in failed]
    told += [f"{which} quarantined: {why}" for which, why in _failed_before_first(stuck)]
    aside = "" if not failed else "   (--skip sets them aside)"
    if len(failed) == 1:
        aside = "   (--skip sets the event aside)"
    return [*told, f"  runnel processor resume {called}{chosen}{aside}"]


def _before_first(row: Json) -> bool:
    """Did its handler fail with no event in hand?"""
    error = row["error"]
    return bool(error and failed_before_first(error["event"], row["checkpoint"]))


def _failed_before_first(rows: list[Json]) -> list[tuple[str, str]]:
    """Of those whose handler failed so: which partitions, and with what. It is mostly the same."""
    found: dict[str, list[Json]] = {}
    for row in filter(_before_first, rows):
        said = one_line(f"{row['error']['type']}: {row['error']['message']}")
        found.setdefault(f"the handler fails with no event in hand: {said}", []).append(row)
    return [(_those(several), why) for why, several in found.items()]


def _failing(rows: list[Json], called: str) -> list[str]:
    rows = [row for row in rows if row["state"] != "quarantined"]
    found = [f"{which}: {why}" for which, why in _failed_before_first(rows)]
    for row in rows:
        times = row["attempts"]
        if not row["error"] or _before_first(row):
            continue
        how_often = f"has failed {times} time{'' if times == 1 else 's'}" if times else "has failed"
        found.append(f"partition {row['id']} {how_often}: {_error(row)}")
    given_up = [
        row for row in rows if row["state"] == "unassigned" and row["error"] and row["attempts"]
    ]
    if given_up:
        chosen = _numbers(given_up)
        found.append(
            f"  runnel processor resume {called} --partition {chosen} --skip   (sets aside what "
            "failed; a worker that starts tries it again)"
        )
    deaths = [row for row in rows if row["failing"] and not row["error"]]
    if deaths:
        found.append(
            f"{_those(deaths)}: workers died one after the other while they processed the next "
            "event: see their last lines, and their memory"
        )
    return found


def _dead_letters(letters: Json | None, called: str) -> list[str]:
    if letters is None or letters["waiting"] == 0:
        return []
    many = (
        "1 dead letter waits"
        if letters["waiting"] == 1
        else (f"{shown(letters['waiting'])} dead letters wait")
    )
    whom = f"for {', '.join(letters['readers'])}" if letters["readers"] else "and nobody reads them"
    return [f"{many} in {letters['stream']}, {whom}", f"  runnel processor dead-letters {called}"]


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
        f"({hosts.get(owner, '?')}) has an event behind {slow['checkpoint']} in hand",
        "  see what its handler waits for; if that worker is stopped, the others take over",
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
    heads = "P STATE OWNER LAG BEHIND IN_HAND LOST CHECKPOINT"
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
            duration(row["current_event_ms"]) if row["state"] in _WORKED_ON else "-",
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
    """One row for each membership."""
    heads = "MEMBER PROCESSOR HOST:PID SEEN PARTITIONS"
    return table(
        f"{heads} LANG VERSION" if wide else heads,
        [
            (
                each["id"],
                f"{each['app']}/{each['processor']}",
                f"{shown(each['host'])}:{shown(each['pid'])}",
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
    cells = [[_coloured(shown(cell)) for cell in row] for row in rows]
    titles = [click.style(head, bold=True) for head in heads.split()]
    text = tabulate.tabulate(cells, titles, tablefmt="plain", disable_numparse=True)
    return [line.rstrip() for line in text.splitlines()]


def _coloured(cell: str) -> str:
    colour = _COLOURS.get(cell)
    return click.style(cell, fg=colour) if colour else cell


def shown(value: Any) -> str:
    """A value as text; what is not known is a question mark."""
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
