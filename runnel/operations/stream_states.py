"""Finds in a report of `inspect` what is wrong with streams: full, read by nobody, or with events
that are ahead of the server's clock. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

#: Milliseconds by which the newest event may be ahead of the server's clock: ids only grow, so each
#: small step back of the clock shows for a moment.
_SKEW = 5_000


@dataclass(frozen=True)
class StreamState:
    """What is wrong with one stream.

    `full` has the numbers of its partitions that refuse events, by the processor that keeps their
    oldest events; None if no processor reads the stream. `ahead_ms` is by how many ms its newest
    event is ahead of the server's clock, 0 if it is not.
    """

    stream: Json
    unread: bool
    full: dict[str | None, list[int]] = field(default_factory=dict)
    ahead_ms: int = 0

    @property
    def name(self) -> str:
        """App and stream."""
        return f"{self.stream['app']}/{self.stream['name']}"

    @property
    def partitions(self) -> list[int]:
        """The partitions that are full."""
        return sorted({each for several in self.full.values() for each in several})


def wrong_streams(seen: Json) -> Iterator[StreamState]:
    """The streams of a report with which something is wrong."""
    for stream in seen["streams"]:
        readers = [each for each in _declared(stream, seen) if _is_registered(each)]
        # The dead letters that nobody reads are a matter of their processor.
        unread = (
            bool(stream["length"])
            and not readers
            and stream["retain"] != "until_full"
            and not _keeps_letters(stream, seen)
        )
        full = _full(stream, readers, unread)
        found = StreamState(stream, unread, full, _ahead_ms(stream, seen["at_ms"]))
        if found.unread or found.full or found.ahead_ms:
            yield found


def unregistered(stream: Json, seen: Json) -> list[Json]:
    """The processors that some code declares for a stream, but that no worker has registered."""
    return [each for each in _declared(stream, seen) if not _is_registered(each)]


def _declared(stream: Json, seen: Json) -> list[Json]:
    pair = stream["app"], stream["name"]
    return [each for each in seen["processors"] if (each["app"], each["stream"]) == pair]


def _is_registered(processor: Json) -> bool:
    return any(row["checkpoint"] is not None for row in processor["partitions"])


def _keeps_letters(stream: Json, seen: Json) -> bool:
    return any(
        each["app"] == stream["app"]
        and each["dead_letters"] is not None
        and each["dead_letters"]["stream"] == stream["name"]
        for each in seen["processors"]
    )


def _full(stream: Json, readers: list[Json], unread: bool) -> dict[str | None, list[int]]:
    """The full partitions, by the processor that has not finished the oldest events."""
    size: int | None = stream["partition_size"]
    found: dict[str | None, list[int]] = {}
    if not size:
        return found
    for row in stream["partitions"]:
        if row["length"] is None or row["length"] < size:
            continue
        if unread:
            found.setdefault(None, []).append(row["id"])
        for each in readers:
            # The entry at the lowest checkpoint stays, too.
            if _lag(each, row["id"]) >= size - 1:
                found.setdefault(each["name"], []).append(row["id"])
    return found


def _lag(processor: Json, partition: int) -> int:
    """The lag of a processor on a partition; 0 if it is unknown."""
    rows = processor["partitions"]
    return next((row["lag_events"] or 0 for row in rows if row["id"] == partition), 0)


def _ahead_ms(stream: Json, at_ms: int) -> int:
    newest = max((int(row["last"].partition("-")[0]) for row in stream["partitions"]), default=0)
    return newest - at_ms if newest - at_ms > _SKEW else 0
