"""Checks a report of `runnel inspect` against the limits of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import click

from runnel.cli import exits
from runnel.cli.names import Names
from runnel.operations.figures import is_overdue, lost
from runnel.operations.partition_ranges import many, some
from runnel.operations.stream_states import wrong_streams

#: States that `--fail-on` takes: `mixed` is that of a processor, `full` and `unread` those of a
#: stream, `clock` that of the server.
STATES = (
    "unassigned",
    "quarantined",
    "paused",
    "stalled",
    "failing",
    "waiting",
    "parked",
    "postponed",
    "overdue",
    "lost",
    "mixed",
    "full",
    "unread",
    "clock",
)
_NOT_OF_PARTITIONS = ("mixed", "full", "unread", "clock")
#: The states of a partition that no one has asked for by name, and that need someone.
WRONG = tuple(each for each in STATES if each not in ("paused", "parked"))

#: What is one fault of a partition, the cause before what it leads to: each partition is told once.
_ONE_FAULT = ("quarantined", "waiting", "stalled", "failing")
#: States of events that are counted.
_COUNTED = ("parked", "postponed", "lost")

Json = dict[str, Any]


class States(click.ParamType):  # type: ignore[type-arg]
    """A command-line option: states, separated by commas."""

    name = "states"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The states in `value`. Fails for an unknown word."""
        if not isinstance(value, str):
            return tuple(value)
        words = tuple(word.strip() for word in value.split(","))
        for word in words:
            if word not in STATES:
                near = difflib.get_close_matches(word, STATES, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                self.fail(f"{word!r} is no state; states are {', '.join(STATES)}{hint}", param, ctx)
        return words


@dataclass(frozen=True)
class Limits:
    """The limits of a report: no partition in one of `states`, and counts; None is no limit.

    `stalled_after` is in seconds.
    """

    states: Collection[str]
    stalled_after: float
    max_lag: int | None
    max_dead: int | None
    min_members: int | None


def judge(seen: Json, limits: Limits, names: Names) -> int:
    """The exit code for a report. Writes a reason to stderr for each limit that is exceeded."""
    found = exceeded(seen, limits, names)
    for _, reason in found:
        click.echo(reason, err=True)
    return max((code for code, _ in found), default=exits.OK)


def exceeded(seen: Json, limits: Limits, names: Names) -> list[tuple[int, str]]:
    """Exit code and reason for each limit that a report exceeds. The reasons have commands with
    these names."""
    found = [
        (code, f"{processor['app']}/{processor['name']}: {reason}")
        for processor in seen["processors"]
        for code, reason in _failures(processor, seen["members"], limits, names)
    ]
    found += [(exits.NOT_PROCESSING, reason) for reason in _of_streams(seen, limits.states)]
    if limits.min_members and not seen["processors"]:
        start = f"`runnel worker {names.app}{names.at}` registers those of an app"
        found.append((exits.NO_MEMBER, f"no processor is registered: {start}"))
    return found


def tolerated(seen: Json, limits: Limits, names: Names) -> list[str]:
    """What needs someone in a report although no limit is exceeded."""
    everything = Limits(STATES, limits.stalled_after, None, 0, None)
    return [reason.removesuffix(", allowed 0") for _, reason in exceeded(seen, everything, names)]


def _of_streams(seen: Json, states: Collection[str]) -> Iterator[str]:
    """What is wrong with streams, and with the clock."""
    for each in wrong_streams(seen):
        if "full" in states and each.full:
            yield f"{each.name}: {many(len(each.partitions))} full"
        if "unread" in states and each.unread:
            yield f"{each.name}: no processor reads the stream"
        if "clock" in states and each.ahead_ms:
            yield f"{each.name}: its events are ahead of the server's clock, which was set back"


def _failures(
    processor: Json, members: list[Json], limits: Limits, names: Names
) -> Iterator[tuple[int, str]]:
    """Exit code and reason of each limit that a processor exceeds."""
    dead_letters, lag = processor["dead_letters"], processor["lag_events"]
    if limits.max_dead is not None and dead_letters is not None:
        waiting = dead_letters["waiting"]
        if waiting is None or waiting > limits.max_dead:
            yield exits.LAG, f"{_dead_letters(waiting)}, allowed {limits.max_dead}"
    if limits.max_lag is not None and (lag is None or lag > limits.max_lag):
        yield exits.LAG, f"lag is {'unknown' if lag is None else lag}, allowed {limits.max_lag}"
    if "mixed" in limits.states and processor["mixed"]:
        yield exits.NOT_PROCESSING, "its members run different versions"
    yield from (
        (exits.NOT_PROCESSING, reason) for reason in _of_partitions(processor, limits, names)
    )
    own = (processor["app"], processor["name"])
    live = sum(1 for each in members if (each["app"], each["processor"]) == own)
    if limits.min_members is not None and live < limits.min_members:
        yield exits.NO_MEMBER, f"{live} live members, wanted {limits.min_members}"


def _of_partitions(processor: Json, limits: Limits, names: Names) -> Iterator[str]:
    """Which partitions are in the states that are looked for, and the next command."""
    wanted = [each for each in STATES if each in limits.states and each not in _NOT_OF_PARTITIONS]
    wanted.sort(key=lambda each: _ONE_FAULT.index(each) if each in _ONE_FAULT else -1)
    told = set[int]()
    for state in wanted:
        rows = [row for row in processor["partitions"] if _is(row, state, limits.stalled_after)]
        if state in _ONE_FAULT:
            rows = [row for row in rows if row["id"] not in told]
            told |= {row["id"] for row in rows}
        if rows:
            yield f"{_said(state, rows)} ({names.look(processor, rows[0]['id'])})"


def _said(state: str, rows: list[Json]) -> str:
    where, one = some(row["id"] for row in rows), len(rows) == 1
    if state in _COUNTED:
        count = sum(lost(row) if state == "lost" else row[state] for row in rows)
        return f"{count} event{'' if count == 1 else 's'} {state} in {where}"
    if state == "waiting":
        return f"{where} wait{'s' if one else ''} for room"
    if state == "overdue":
        return f"{where} {'has' if one else 'have'} overdue events"
    return f"{where} {'is' if one else 'are'} {state}"


def _is(row: Json, state: str, stalled_after: float) -> bool:
    if state == "failing":
        return bool(row["failing"])
    if state == "lost":
        return lost(row) > 0
    if state == "overdue":
        return is_overdue(row)
    if state in ("parked", "postponed"):
        return bool(row[state])
    if state == "waiting":
        return row["waits_for"] is not None or row["outbox_waits_for"] is not None
    if state == "stalled":
        return bool((row["current_event_ms"] or 0) > stalled_after * 1000)
    return bool(row["state"] == state)


def _dead_letters(waiting: int | None) -> str:
    if waiting == 1:
        return "1 dead letter waits"
    return f"{'an unknown number of' if waiting is None else waiting} dead letters wait"
