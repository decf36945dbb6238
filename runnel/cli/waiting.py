"""What waits in the partitions of a processor, for people: commits without room, parked and
postponed events, delayed ones, what was emitted. Each with the command that helps. No I/O."""

from __future__ import annotations

from typing import Any

from runnel.cli.tables import duration
from runnel.operations.figures import PARKED, is_overdue, outbox_waits
from runnel.operations.partition_ranges import those

Json = dict[str, Any]

#: What makes room among parked events, and in a stream.
_MAKES_ROOM = "to replay or drop some makes room, and so does a larger park_limit"
_OF_STREAMS = "to run what reads it makes room, and so does a larger partition_size"
_OF_LETTERS = "to replay or drop some makes room, and so does a processor that reads them"


def for_room(rows: list[Json], letters: Json | None = None) -> list[str]:
    """The partitions whose commits find no room in another stream, stream by stream; and those
    whose commits Redis refuses for another reason. `letters` are the dead letters of the
    processor."""
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
            makes_room = _OF_STREAMS
            if stream == PARKED:
                makes_room = _MAKES_ROOM
            if letters and letters["stream"] == stream:
                makes_room = _OF_LETTERS
            lines.append(
                f"{_those(several)}: no room in {stream} for {since}: {makes_room} ({reason})"
            )
    return lines


def for_letters(rows: list[Json], letters: Json | None) -> bool:
    """Does a partition wait for room among the dead letters of its own processor?"""
    return bool(letters) and any(
        (row["waits_for"] or {}).get("stream") == (letters or {})["stream"] for row in rows
    )


def for_others(rows: list[Json]) -> bool:
    """Does a partition wait for room in a stream that others read?"""
    streams = [(row["waits_for"] or {}).get("stream") for row in rows]
    return any(each not in (None, PARKED) for each in streams)


def parked(rows: list[Json], target: str) -> list[str]:
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
        found.append(f"  runnel dead replay {target}   # once the cause is mended")
    return found


def postponed(rows: list[Json], target: str) -> list[str]:
    """The partitions with events that have failed and wait for their next try."""
    postponed = [row for row in rows if row["postponed"]]
    if not postponed:
        return []
    events = sum(row["postponed"] for row in postponed)
    first = min(row["postponed_in_ms"] or 0 for row in postponed)
    when = f"in {duration(first)}" if first else "is due"
    return [
        f"{_those(postponed)}: {events} failed event{'s' if events > 1 else ''} postponed, the "
        f"next retry {when}",
        f"  runnel dead list {target}",
    ]


def delayed(rows: list[Json], stream: str) -> list[str]:
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


def outboxes(rows: list[Json]) -> list[str]:
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


def _those(rows: list[Json]) -> str:
    return those(row["id"] for row in rows)
