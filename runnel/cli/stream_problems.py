"""What is wrong with streams, for people: each with the command that helps. No I/O."""

from __future__ import annotations

from typing import Any

import click

from runnel.cli import runbooks
from runnel.cli.names import Names
from runnel.cli.tables import COLOURS, duration, value_text
from runnel.operations.partition_ranges import those
from runnel.operations.stream_states import StreamState, unregistered, wrong_streams

Json = dict[str, Any]


def problems(seen: Json, names: Names) -> list[str]:
    """What is wrong with each stream of a report; empty if nothing is."""
    found = []
    states = list(wrong_streams(seen))
    # What nobody reads is mostly why others are full.
    for each in sorted(states, key=lambda each: not each.unread):
        if each.unread:
            found += _block(each, "read by nobody", _unread(each, seen, names), runbooks.UNREAD)
        elif each.full:
            found += _block(each, "full", _full(each, seen, names), runbooks.FULL)
    return found + _clock(states, names)


def unread(seen: Json) -> frozenset[tuple[str, str]]:
    """App and name of the streams that nobody reads."""
    return frozenset(
        (each.stream["app"], each.stream["name"]) for each in wrong_streams(seen) if each.unread
    )


def _block(state: StreamState, word: str, lines: list[str], section: str) -> list[str]:
    head = f"{state.name} is {click.style(word, fg=COLOURS['degraded'])}"
    return ["", head, *(f"  {line}" for line in lines), f"    {runbooks.see(section)}"]


def _unread(state: StreamState, seen: Json, names: Names) -> list[str]:
    count = value_text(state.stream["length"])
    kept = "its event stays" if count == "1" else f"its {count} events stay"
    if state.full:
        said = f"{kept}, and {those(state.partitions)} refuse{_s(state.partitions)} more: full"
    else:
        said = f"{kept} until it is full"
    start = [
        f"  runnel worker {names.app}{names.at} --processors {each['name']}"
        for each in unregistered(state.stream, seen)
    ]
    return [said, *(start or ['  run a processor of it, or declare it with retain="until_full"'])]


def _full(state: StreamState, seen: Json, names: Names) -> list[str]:
    app, stream = state.stream["app"], state.stream["name"]
    size = state.stream["partition_size"]
    found = []
    for name, partitions in state.full.items():
        found.append(
            f"{those(partitions)} refuse{_s(partitions)} events: {name} has not finished the "
            f"oldest of {size}"
        )
        processor = next(
            each
            for each in seen["processors"]
            if (each["app"], each["stream"], each["name"]) == (app, stream, name)
        )
        if processor["state"] == "down":
            remove = f"runnel processor remove {stream}@{name} --app {app}{names.at}"
            start = f"  runnel worker {names.app}{names.at} --processors {name}"
            start += "   # if it is to run"
            declared = names.declared is None or (stream, name) in names.declared
            found += [start] if declared else []
            if names.codeless:
                found.append(f"  runnel inspect {names.app}{names.at}   # whether the code has it")
            found.append(f"  {remove}   # if it is gone for good")
        else:
            rows = {row["id"]: row for row in processor["partitions"]}
            why = _kept_by(rows[partitions[0]])
            target = f"{names.target(processor)} {partitions[0]}"
            found.append(f"  runnel inspect {target}   # {name} {why}")
    return found


def _kept_by(row: Json) -> str:
    """What keeps a processor from going on in a partition."""
    if row["state"] in ("quarantined", "paused", "unassigned"):
        return f"is {row['state']}"
    if waits := row["waits_for"] or row["outbox_waits_for"]:
        return f"waits for room in {waits['stream']}" if waits["stream"] else "is refused by Redis"
    if row["failing"]:
        return "fails"
    return f"runs, {value_text(row['lag_events'])} events behind"


def _clock(states: list[StreamState], names: Names) -> list[str]:
    ahead = [each for each in states if each.ahead_ms]
    if not ahead:
        return []
    most = max(ahead, key=lambda each: each.ahead_ms)
    return [
        "",
        f"the clock of the server {click.style('was set back', fg=COLOURS['degraded'])}",
        f"  it is {duration(most.ahead_ms)} behind the newest event of {most.name}: ages are "
        "unknown,",
        "  and delayed events are late by as much",
        f"    runnel doctor{names.at}   # compares it with the clock of this machine",
        f"    {runbooks.see(runbooks.CLOCK)}",
    ]


def _s(partitions: list[int]) -> str:
    return "s" if len(partitions) == 1 else ""
