"""The picture of `runnel inspect` for people: what is wrong first, then everything. No I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import click

from runnel.cli import tables
from runnel.cli.tables import COLOURS, duration, error, shown
from runnel.log import one_line
from runnel.operations.figures import failed_before_first
from runnel.operations.partition_ranges import ranges, those

Json = dict[str, Any]

#: From harmless to grave.
STATES = ("ok", "degraded", "stalled", "down")


@dataclass(frozen=True)
class Names:
    """What the command line calls the app and its module, as far as that is known, and the pairs of
    stream and processor that its code declares."""

    module: str = "MODULE"
    app: str = "MODULE:APP"
    declared: frozenset[tuple[str, str]] | None = None


def picture(seen: Json, url: str, names: Names, wide: bool = False) -> list[str]:
    """The lines to show. `wide` adds the columns that are seldom needed."""
    lines = [headline(seen, url)]
    for processor in seen["processors"]:
        lines += trouble(processor, seen, names)
    if seen["processors"]:
        lines += ["", *tables.processors(seen)]
    if seen["members"]:
        lines += ["", *tables.members(seen, wide)]
    for each in seen["processors"]:
        lines += ["", f"{each['app']}/{each['name']}", *tables.partitions(each, wide)]
    if seen["streams"]:
        lines += ["", *tables.streams(seen)]
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
        told = click.style(worst.upper(), fg=COLOURS[worst], bold=True)
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
    pair = (processor["stream"], processor["name"])
    if found and names.declared is not None and pair not in names.declared:
        found = _undeclared(processor, names, found)
    if not found:
        return []
    head = f"{processor['app']}/{processor['name']} is {click.style(state, fg=COLOURS[state])}"
    return ["", head, *(f"  {line}" for line in found)]


def _down(processor: Json, names: Names) -> list[str]:
    start = f"  runnel worker {names.app}"
    if all(row["checkpoint"] is None for row in processor["partitions"]):
        add = f"runnel processor add {names.module}:{processor['name']}"
        return ["it is not registered: nothing is kept for it", f"{start}   (or {add})"]
    return [f"no live member; events that wait: {shown(processor['lag_events'])}", start]


def _undeclared(processor: Json, names: Names, found: list[str]) -> list[str]:
    """What was found without the commands, which go by the code, and with the one that helps."""
    wrong = [line for line in found if not line.startswith("  ")]
    if processor["state"] != "down":
        told = f"{names.app} does not declare it, but workers run it: what runs is other code"
        return [told, *wrong]
    del wrong[0]  # That it is down: said here in other words.
    waits = f"events that wait: {shown(processor['lag_events'])}"
    remove = f"runnel processor remove {processor['stream']}@{processor['name']}"
    return [
        f"{names.app} does not declare it, and events are kept for it; {waits}",
        *wrong,
        f"  {remove} --app {processor['app']}   (if it is gone for good)",
    ]


def _quarantined(rows: list[Json], called: str) -> list[str]:
    stuck = [row for row in rows if row["state"] == "quarantined"]
    if not stuck:
        return []
    chosen = "" if len(stuck) == len(rows) > 1 else f" --partition {_numbers(stuck)}"
    failed = [row for row in stuck if not _before_first(row)]
    told = [f"partition {row['id']} is quarantined: {error(row)}" for row in failed]
    told += [f"{which} quarantined: {why}" for which, why in _failed_before_first(stuck)]
    aside = "" if not failed else "   (--skip sets them aside)"
    if len(failed) == 1:
        aside = "   (--skip sets the event aside)"
    return [*told, f"  runnel processor resume {called}{chosen}{aside}"]


def _before_first(row: Json) -> bool:
    """Did its handler fail with no event in hand?"""
    failed = row["error"]
    return bool(failed and failed_before_first(failed["event"], row["checkpoint"]))


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
        found.append(f"partition {row['id']} {how_often}: {error(row)}")
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


def _those(rows: list[Json]) -> str:
    return those(row["id"] for row in rows)


def _numbers(rows: list[Json]) -> str:
    return ranges(row["id"] for row in rows)
