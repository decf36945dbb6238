"""Checks a report of `runnel inspect` against the limits of the command line."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import click

from runnel.cli import exits
from runnel.operations.figures import is_overdue
from runnel.operations.partition_ranges import many

#: States of a partition that `--fail-on` takes.
STATES = (
    "unassigned",
    "quarantined",
    "paused",
    "stalled",
    "failing",
    "waiting",
    "parked",
    "overdue",
)

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


def judge(seen: Json, limits: Limits) -> int:
    """The exit code for a report. Writes a reason to stderr for each limit that is exceeded."""
    code = exits.OK
    for processor in seen["processors"]:
        name = f"{processor['app']}/{processor['name']}"
        for failure in _failures(processor, seen["members"], limits):
            code = max(code, failure[0])
            click.echo(f"{name}: {failure[1]}", err=True)
    if limits.min_members and not seen["processors"]:
        code = exits.NO_MEMBER
        click.echo("no processor is registered", err=True)
    return code


def _failures(processor: Json, members: list[Json], limits: Limits) -> Iterator[tuple[int, str]]:
    """Exit code and reason of each limit that a processor exceeds."""
    dead_letters, lag = processor["dead_letters"], processor["lag_events"]
    if limits.max_dead is not None and dead_letters is not None:
        waiting = dead_letters["waiting"]
        if waiting is None or waiting > limits.max_dead:
            yield exits.LAG, f"{_dead_letters(waiting)}, allowed {limits.max_dead}"
    if limits.max_lag is not None and (lag is None or lag > limits.max_lag):
        yield exits.LAG, f"lag is {'unknown' if lag is None else lag}, allowed {limits.max_lag}"
    for state in STATES:
        if state in limits.states:
            rows = processor["partitions"]
            count = sum(1 for row in rows if _is(row, state, limits.stalled_after))
            if count:
                yield exits.NOT_PROCESSING, f"{many(count)} {state}"
    own = (processor["app"], processor["name"])
    live = sum(1 for each in members if (each["app"], each["processor"]) == own)
    if limits.min_members is not None and live < limits.min_members:
        yield exits.NO_MEMBER, f"{live} live members, wanted {limits.min_members}"


def _is(row: Json, state: str, stalled_after: float) -> bool:
    if state == "failing":
        return bool(row["failing"])
    if state == "overdue":
        return is_overdue(row)
    if state == "parked":
        return bool(row["parked"])
    if state == "waiting":
        return row["waits_for"] is not None or row["outbox_waits_for"] is not None
    if state == "stalled":
        return bool((row["current_event_ms"] or 0) > stalled_after * 1000)
    return bool(row["state"] == state)


def _dead_letters(waiting: int | None) -> str:
    if waiting == 1:
        return "1 dead letter waits"
    return f"{'an unknown number of' if waiting is None else waiting} dead letters wait"
