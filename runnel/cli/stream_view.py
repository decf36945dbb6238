"""What `runnel stream` says of streams, for people. No I/O."""

from __future__ import annotations

from typing import Any

from runnel.cli.tables import duration, table, value_text
from runnel.operations.figures import Json
from runnel.operations.partition_ranges import ranges, those
from runnel.operations.stream_admin import Trimmed
from runnel.stream import StreamSpec


def declared(spec: StreamSpec[Any], new: bool) -> str:
    """The line of `create`."""
    kept = spec.retention
    age = f", max_age {duration(kept.max_age_ms)}" if kept.max_age_ms else ""
    count = spec.partition_count
    return (
        f"{'created' if new else 'exists:'} {spec.name}: {count} partition{_s(count)} of "
        f"{spec.partition_size} events{age}, retain {kept.retain}"
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _age(row: Json) -> str:
    """The max_age of a stream: unknown if nobody has declared the stream in the registry."""
    if row["max_age_ms"]:
        return duration(row["max_age_ms"])
    return "?" if row["retain"] is None else "none"


def rows(streams: list[Json]) -> list[str]:
    """The table of `list`."""
    return table(
        "STREAM PARTITIONS SIZE MAX_AGE RETAIN EVENTS OLDEST",
        [
            (
                f"{each['app']}/{each['name']}",
                each["partition_count"],
                each["partition_size"],
                _age(each),
                each["retain"],
                each["length"],
                duration(each["oldest_ms"]) if each["length"] else "-",
            )
            for each in streams
        ],
    )


def lines(seen: Json) -> list[str]:
    """The page of `show`."""
    derived = "" if seen["source"] == seen["name"] else f", derived from {seen['source']}"
    found = [
        f"{seen['app']}/{seen['name']}{derived}",
        f"  partitions  {seen['partition_count']} of {value_text(seen['partition_size'])} events",
        f"  hash        {value_text(seen['hash'])}, protocol {value_text(seen['protocol'])}",
        f"  max_age     {_age(seen)}",
        f"  retain      {value_text(seen['retain'])}",
        f"  events      {value_text(seen['length'])}",
        f"  bytes       {value_text(seen['bytes'])}",
        "",
        *_readers(seen),
        "",
    ]
    return found + table(
        "P EVENTS BYTES OLDEST FIRST LAST",
        [
            (
                row["id"],
                row["length"],
                row["bytes"],
                duration(row["oldest_ms"]) if row["length"] else "-",
                row["first"] or "-",
                row["last"],
            )
            for row in seen["partitions"]
        ],
    )


def _readers(seen: Json) -> list[str]:
    if not seen["readers"]:
        then = {
            "until_full": "the oldest events make room when a partition is full",
            "always": "its events stay, and a full partition refuses to take more",
        }.get(seen["retain"], "its events stay, unless it is declared otherwise")
        return [f"nobody reads it: {then}"]
    return table(
        "PROCESSOR PARTITIONS LAG DROPPED KEEPS",
        [
            (
                each["processor"],
                each["partitions"],
                each["lag_events"],
                each["dropped"],
                ranges(each["keeps"]) or "-",
            )
            for each in seen["readers"]
        ],
    )


def as_json(name: str, done: Trimmed, execute: bool) -> Json:
    """The object of `trim`."""
    return {
        "stream": name,
        "executed": execute,
        "removed": sum(done.removed.values()),
        "lost": dict(done.lost),
        "partitions": [
            {"id": p, "removed": count, "kept_for": done.kept_for.get(p)}
            for p, count in done.removed.items()
        ],
    }


def trimmed(name: str, done: Trimmed, execute: bool) -> list[str]:
    """The lines of `trim`."""
    total = sum(done.removed.values())
    verb = "removed" if execute else "would remove"
    touched = [p for p, count in done.removed.items() if count]
    where = f" from {those(touched)}" if touched else ""
    found = [f"{verb} {total} event{_s(total)} of {name}{where}"]
    for processor, count in sorted(done.lost.items()):
        loses = "has LOST" if execute else "would LOSE"
        found.append(f"processor {processor} {loses} {count} event{_s(count)} of these")
    for holder in sorted(set(done.kept_for.values())):
        kept = those(p for p, each in done.kept_for.items() if each == holder)
        if holder == "-":
            found.append(f"more stays in {kept}, because nobody reads the stream (retain always)")
        else:
            found.append(f"more stays in {kept}: processor {holder} has not committed it")
    return found if execute else [*found, "nothing was removed: add --execute to do it"]
