"""Formats the report of `runnel inspect` for people: problems first, then tables. No I/O."""

from __future__ import annotations

import time
from typing import Any

import click

from runnel.cli import first_steps, runbooks, stream_problems, tables, waiting
from runnel.cli.names import Names
from runnel.cli.silence import silent
from runnel.cli.tables import COLOURS, duration, error_text, value_text
from runnel.log import one_line
from runnel.operations.figures import failed_before_first, lost
from runnel.operations.member_versions import versions
from runnel.operations.partition_ranges import ranges, those
from runnel.operations.stream_states import wrong_streams

Json = dict[str, Any]

#: States of a processor, from the best to the worst.
STATES = ("ok", "degraded", "stalled", "down")
#: Versions of members that one line names.
_SHOWN = 5


def lines(seen: Json, url: str, names: Names, wide: bool = False) -> list[str]:
    """The lines of a report. `wide` adds columns that are seldom needed."""
    found = [headline(seen, url), *first_steps.lines(seen, names)]
    for processor in seen["processors"]:
        found += problems(processor, seen, names)
    found += stream_problems.problems(seen, names)
    if seen["processors"]:
        found += ["", *tables.processors(seen)]
    if any(each["tables"] for each in seen["processors"]):
        found += ["", *tables.kept(seen)]
    if seen["members"]:
        mixed = any(each["mixed"] for each in seen["processors"])
        found += ["", *tables.members(seen, wide or mixed)]
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
    elif worst == "ok" and (wrong := list(wrong_streams(seen))):
        summary = click.style("DEGRADED", fg=COLOURS["degraded"], bold=True)
        more = f" and {len(wrong) - 2} more streams" if len(wrong) > 3 else ""
        shown = wrong[:2] if more else wrong
        summary += f": {', '.join(each.name for each in shown)}{more}"
    elif worst == "ok":
        summary = click.style("OK", fg="green", bold=True)
    else:
        summary = _counted(states)
    parts = [summary]
    if worst is not None:
        behind = totals["lag_ms"]
        late = f", {duration(behind)} behind" if behind else ""
        parts.append(f"lag {lag_text(seen)}{late}")
        if totals["quarantined"]:
            parts.append(f"quarantined {totals['quarantined']}")
        if totals["dead_letters"] != 0:
            parts.append(f"dead letters {value_text(totals['dead_letters'])}")
        if totals["parked"]:
            parts.append(f"parked {totals['parked']}")
        if totals["postponed"]:
            parts.append(f"postponed {totals['postponed']}")
        unheard = f", {found} silent" if (found := silent(seen)) else ""
        parts.append(f"{totals['members']} worker{'' if totals['members'] == 1 else 's'}{unheard}")
    mode = "" if server["mode"] == "standalone" else f" {server['mode']}"
    parts.append(f"{server['kind']} {value_text(server['version'])}{mode} at {url}")
    parts.append(time.strftime("%H:%M:%SZ", time.gmtime(seen["at_ms"] / 1000)))
    return " · ".join(parts)


def _counted(states: list[str]) -> str:
    """How many processors are in which state, the worst first."""
    bad = [each for each in reversed(STATES[1:]) if each in states]
    parts = [f"{each}: {states.count(each)}" for each in bad]
    word = click.style(bad[0].upper(), fg=COLOURS[bad[0]], bold=True)
    rest = ", ".join([parts[0].partition(": ")[2], *parts[1:]])
    return f"{word}: {rest}{',' if len(bad) > 1 else ''} of {len(states)} processors"


def lag_text(seen: Json) -> str:
    """The lag of all processors; with a plus, if that of some partition is unknown."""
    if (lag := seen["totals"]["lag_events"]) is not None:
        return str(lag)
    rows = (row for each in seen["processors"] for row in each["partitions"])
    known = sum(row["lag_events"] or 0 for row in rows)
    return f"{known}+" if known else "?"


def problems(processor: Json, seen: Json, names: Names, alone: bool = False) -> list[str]:
    """The problems of a processor, each with the command that helps. `alone` is for a report on its
    only partition here: commands name that one, and none shows more of it."""
    rows, state = processor["partitions"], processor["state"]
    target = names.target(processor)
    found: list[str] = []
    if state == "down":
        found += _down(processor, seen, names, alone)
    gone = [row for row in rows if lost(row)]
    if gone:
        count = sum(lost(row) for row in gone)
        found += [
            f"{_those(gone)}: {count} events were LOST before they were processed",
            f"  runnel processor acknowledge {target}   # once they are sent again, or given up",
        ]
    on = [row for row in rows if not row["waits_for"]]
    look = [] if alone else _look(on, target, state == "stalled")
    found += _quarantined(rows, target, look)
    letters = _dead_letters(processor["dead_letters"], target)
    full = waiting.for_letters(rows, processor["dead_letters"])
    found += letters if full else []
    found += waiting.for_room(rows, processor["dead_letters"])
    if alone and not full and waiting.for_others(rows):
        target_app = "" if names.codeless else f" {names.app}"
        found.append(f"  runnel inspect{target_app}{names.at}   # who does not read that stream")
    found += _failing(on, target)
    found += waiting.outboxes(rows)
    which = f"{target} --partition {rows[0]['id']}" if alone else target
    found += waiting.parked(rows, which)
    found += waiting.postponed(rows, which)
    found += waiting.delayed(rows, processor["stream"])
    if state == "stalled":
        found += _stalled(rows, seen, processor)
    paused = [row for row in rows if row["state"] == "paused"]
    if paused:
        resume = f"runnel processor resume {target}{_chosen(paused, rows)}"
        found += [f"{_those(paused)} paused by an operator", f"  {resume}"]
    unassigned = [row for row in rows if row["state"] == "unassigned"]
    if unassigned and state != "down":
        found.append(
            f"{_those(unassigned)} unassigned: a worker claims them within a heartbeat; if none "
            "does, see the workers' logs"
        )
    found += [] if full else letters
    found += [] if look and look[0] in found else look
    found += _mixed(processor, seen)
    pair = (processor["stream"], processor["name"])
    declared = names.declared is None or pair in names.declared
    if found and not declared:
        found = _undeclared(processor, names, found)
    if not found:
        return []
    if sections := runbooks.of_processor(processor, declared, stream_problems.unread(seen)):
        found.append(f"  {runbooks.see(*sections)}")
    head = f"{processor['app']}/{processor['name']} is {click.style(state, fg=COLOURS[state])}"
    return ["", head, *(f"  {line}" for line in found)]


def _down(processor: Json, seen: Json, names: Names, alone: bool) -> list[str]:
    start = f"  runnel worker {names.app}{names.at}"
    if any(each["app"] == processor["app"] for each in seen["members"]):
        start += f" --processors {processor['name']}   # the workers of this app run without it"
    elif alone:
        start += f" --processors {processor['name']}"
    if all(row["checkpoint"] is None for row in processor["partitions"]):
        stream = (processor["app"], processor["stream"])
        kept = stream in stream_problems.unread(seen)
        why = "no worker has run it yet" if kept else "no events are kept for it"
        return [f"it is not registered: {why}", start]
    found = [f"no live member; lag: {value_text(processor['lag_events'])} events", start]
    if names.codeless:
        # The code may have dropped this processor, or declare another partition count.
        found.append(f"  runnel inspect {names.app}{names.at}   # compares this with the code")
    return found


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
        f"  {remove} --app {processor['app']}{names.at}   # if it is gone for good",
    ]


def _quarantined(rows: list[Json], target: str, look: list[str]) -> list[str]:
    """The partitions that an operator must resume, and before that `look` at."""
    quarantined = [row for row in rows if row["state"] == "quarantined"]
    if not quarantined:
        return []
    chosen = _chosen(quarantined, rows)
    failed = [row for row in quarantined if not _before_first(row)]
    found = [f"partition {row['id']} is quarantined: {error_text(row)}" for row in failed]
    found += [f"{which} quarantined: {why}" for which, why in _failed_before_first(quarantined)]
    skip = "" if not failed else "   # --skip skips the failed events"
    if len(failed) == 1:
        skip = "   # --skip skips the failed event"
    return [*found, *look, f"  runnel processor resume {target}{chosen}{skip}"]


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
            f"  runnel processor resume {target} --partition {chosen} --skip   # skips the failed "
            "event; a worker that starts retries it"
        )
    deaths = [row for row in rows if row["failing"] and not row["error"]]
    if deaths:
        found.append(
            f"{_those(deaths)}: workers died one after the other while they processed the next "
            "event: see the end of their logs, and their memory"
        )
    return found


def _look(rows: list[Json], target: str, stalled: bool) -> list[str]:
    """The command that shows all of one partition whose event fails, or takes too long."""
    failed = [row for row in rows if (row["error"] or row["failing"]) and not _before_first(row)]
    failed += [max(rows, key=lambda row: row["current_event_ms"] or 0)] if stalled else []
    failed.sort(key=lambda row: row["state"] != "quarantined")
    return [f"  runnel inspect {target} {failed[0]['id']}   # its event"] if failed else []


def _dead_letters(found: Json | None, target: str) -> list[str]:
    if found is None or found["waiting"] == 0:
        return []
    waiting = value_text(found["waiting"])
    count = "1 dead letter waits" if waiting == "1" else f"{waiting} dead letters wait"
    readers = ", ".join(found["readers"])
    what = f"for {readers}" if readers else "and no processor reads the stream"
    return [
        f"{count} in {found['stream']}, {what}",
        f"  runnel processor dead-letters {target}",
        f"  runnel dead replay {target}   # once the cause is mended",
    ]


def _mixed(processor: Json, seen: Json) -> list[str]:
    """The versions of the members, if they differ."""
    if not processor["mixed"]:
        return []
    found = [
        f"{value_text(lang)} {value_text(version)} with scripts {value_text(scripts)} ({count})"
        for (lang, version, scripts), count in versions(_members(processor, seen)).most_common()
    ]
    more = [f"{len(found) - _SHOWN} more"] * (len(found) > _SHOWN)
    return [f"its members run different versions: {', '.join(found[:_SHOWN] + more)}"]


def _members(processor: Json, seen: Json) -> list[Json]:
    own = (processor["app"], processor["name"])
    return [each for each in seen["members"] if (each["app"], each["processor"]) == own]


def _stalled(rows: list[Json], seen: Json, processor: Json) -> list[str]:
    members = {each["id"]: each for each in _members(processor, seen)}
    slow = max(rows, key=lambda row: row["current_event_ms"] or 0)
    owner = slow["owner"]
    where = members.get(owner, {"host": None, "pid": None})
    host, pid = value_text(where["host"]), value_text(where["pid"])
    return [
        f"partition {slow['id']} has not moved for {duration(slow['current_event_ms'])}: {owner} "
        f"({host}:{pid}) is still processing the event after {slow['checkpoint']}",
        f"  kill {pid}   # on {host}: ends that worker, and another one takes over",
    ]


def _those(rows: list[Json]) -> str:
    return those(row["id"] for row in rows)


def _chosen(some: list[Json], rows: list[Json]) -> str:
    """The option that chooses some partitions; empty if these are all of several."""
    return "" if len(some) == len(rows) > 1 else f" --partition {_numbers(some)}"


def _numbers(rows: list[Json]) -> str:
    return ranges(row["id"] for row in rows)
