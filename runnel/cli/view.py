"""Formats the report of `runnel inspect` for people: problems first, then tables. No I/O."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import click

from runnel.cli import tables
from runnel.cli.tables import COLOURS, duration, error_text, value_text
from runnel.log import one_line
from runnel.operations.figures import PARKED, failed_before_first, is_overdue, outbox_waits
from runnel.operations.partition_ranges import ranges, those

Json = dict[str, Any]

#: States of a processor, from the best to the worst.
STATES = ("ok", "degraded", "stalled", "down")


@dataclass(frozen=True)
class Names:
    """How commands name the module and the app; the defaults are for an app without code.

    `declared` has the stream and the name of each processor that the code declares.
    """

    module: str = "MODULE"
    app: str = "MODULE:APP"
    declared: frozenset[tuple[str, str]] | None = None


def lines(seen: Json, url: str, names: Names, wide: bool = False) -> list[str]:
    """The lines of a report. `wide` adds columns that are seldom needed."""
    found = [headline(seen, url)]
    for processor in seen["processors"]:
        found += problems(processor, seen, names)
    if seen["processors"]:
        found += ["", *tables.processors(seen)]
    if any(each["tables"] for each in seen["processors"]):
        found += ["", *tables.kept(seen)]
    if seen["members"]:
        found += ["", *tables.members(seen, wide)]
    for each in seen["processors"]:
        found += ["", f"{each['app']}/{each['name']}", *tables.partitions(each, wide)]
    if seen["streams"]:
        found += ["", *tables.streams(seen)]
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
        summary = click.style(worst.upper(), fg=COLOURS[worst], bold=True)
        summary += f": {count} of {len(states)} processors"
    parts = [summary]
    if worst is not None:
        behind = totals["lag_ms"]
        late = f", {duration(behind)} behind" if behind else ""
        parts.append(f"lag {value_text(totals['lag_events'])}{late}")
        if totals["dead_letters"] != 0:
            parts.append(f"dead letters {value_text(totals['dead_letters'])}")
        if totals["parked"]:
            parts.append(f"parked {totals['parked']}")
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
    found += _waiting_for_room(rows)
    found += _outboxes(rows)
    found += _parked(rows, target)
    found += _delayed(rows, processor["stream"])
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
        return ["it is not registered: no events are kept for it", f"{start}   (or {add})"]
    return [f"no live member; lag: {value_text(processor['lag_events'])} events", start]


def _undeclared(processor: Json, names: Names, found: list[str]) -> list[str]:
    """The problems without their commands, which need the code, and the command that helps."""
    others = [line for line in found if not line.startswith("  ")]
    if processor["state"] != "down":
        mismatch = f"{names.app} does not declare it, but workers run it: they run other code"
        return [mismatch, *others]
    del others[0]  # The line that says that it is down: the first line below replaces it.
    lag = f"lag: {value_text(processor['lag_events'])} events"
    remove = f"runnel processor remove {processor['stream']}@{processor['name']}"
    return [
        f"{names.app} does not declare it, but events are kept for it; {lag}",
        *others,
        f"  {remove} --app {processor['app']}   (if it is gone for good)",
    ]


def _quarantined(rows: list[Json], target: str) -> list[str]:
    quarantined = [row for row in rows if row["state"] == "quarantined"]
    if not quarantined:
        return []
    chosen = "" if len(quarantined) == len(rows) > 1 else f" --partition {_numbers(quarantined)}"
    failed = [row for row in quarantined if not _before_first(row)]
    found = [f"partition {row['id']} is quarantined: {error_text(row)}" for row in failed]
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
        found.append(f"partition {row['id']} {how_often}: {error_text(row)}")
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


#: What makes room among parked events, and in a stream.
_MAKES_ROOM = "to replay or drop some makes room, and so does a larger park_limit"
_OF_STREAMS = "to run that processor makes room, and so does a larger partition_size"


def _waiting_for_room(rows: list[Json]) -> list[str]:
    """The partitions whose commits find no room in another stream, stream by stream; and those
    whose commits Redis refuses for another reason."""
    found: dict[tuple[str | None, str], list[Json]] = {}
    for row in rows:
        if waits := row["waits_for"]:
            found.setdefault((waits["stream"], waits["reason"]), []).append(row)
    lines = []
    for (stream, reason), several in found.items():
        since = duration(_longest(several))
        if stream is None:
            lines.append(f"{_those(several)}: Redis refuses its commits for {since}: {reason}")
        else:
            lines.append(
                f"{_those(several)}: no room in {stream} for {since}, because {reason}: "
                f"{_MAKES_ROOM if stream == PARKED else _OF_STREAMS}"
            )
    return lines


def _parked(rows: list[Json], target: str) -> list[str]:
    """The partitions with parked events."""
    parked = [row for row in rows if row["parked"]]
    if not parked:
        return []
    events, keys = sum(row["parked"] for row in parked), sum(row["parked_keys"] for row in parked)
    replaying = sum(row["replaying"] for row in parked)
    said = (
        f"{events} event{'s' if events > 1 else ''} of {keys} key{'s' if keys > 1 else ''} parked"
    )
    if replaying:
        said += f", {replaying} of the keys replayed now"
    found = [f"{_those(parked)}: {said}", f"  runnel dead list {target}"]
    if replaying < keys:
        found.append(f"  runnel dead replay {target} (once the cause is mended)")
    return found


def _delayed(rows: list[Json], stream: str) -> list[str]:
    """The partitions whose delayed events are due and do not enter the log, and those that have
    lost some."""
    found = []
    if overdue := [row for row in rows if is_overdue(row)]:
        found.append(
            f"{_those(overdue)}: delayed events are overdue by "
            f"{duration(max(row['overdue_ms'] for row in overdue))}: the log is full, or no worker "
            "holds the partition"
        )
    if lost := [row for row in rows if row["delayed_lost"]]:
        count = sum(row["delayed_lost"] for row in lost)
        found.append(f"{_those(lost)}: {count} delayed events of {stream} were LOST")
    return found


def _longest(rows: list[Json], field: str = "waits_for") -> int:
    return max(row[field]["since_ms"] or 0 for row in rows)


def _outboxes(rows: list[Json]) -> list[str]:
    """What the processor has emitted and what nobody forwards, and what of it was lost."""
    found, full = [], dict[tuple[str, str], list[Json]]()
    for row in filter(outbox_waits, rows):
        if waits := row["outbox_waits_for"]:
            full.setdefault((waits["stream"], waits["reason"]), []).append(row)
    for (stream, reason), several in full.items():
        since = duration(_longest(several, "outbox_waits_for"))
        found.append(
            f"{_those(several)}: {_entries(several)} in the outbox for room in {stream}, for "
            f"{since}, because {reason}"
        )
    idle = [row for row in filter(outbox_waits, rows) if not row["outbox_waits_for"]]
    if idle:
        found.append(
            f"{_those(idle)}: {_entries(idle)} in the outbox until a worker claims the partition"
        )
    if lost := [row for row in rows if row["outbox_lost"]]:
        count = sum(row["outbox_lost"] for row in lost)
        found.append(f"{_those(lost)}: {count} emitted entries were LOST in the outbox")
    return found


def _entries(rows: list[Json]) -> str:
    count = sum(row["outbox"] for row in rows)
    return f"{count} emitted {'entry waits' if count == 1 else 'entries wait'}"


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


def _those(rows: list[Json]) -> str:
    return those(row["id"] for row in rows)


def _numbers(rows: list[Json]) -> str:
    return ranges(row["id"] for row in rows)
