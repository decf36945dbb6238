"""Counts and histograms as plain numbers, which can be added up over processes. No I/O.

A worker counts with these, and not with the objects of prometheus_client: an observation may stand
for many events, costs less, and the figures of several processes are one sum.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

#: Upper bounds of the buckets, in seconds, and for numbers of events.
SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
EVENTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)


class Family(NamedTuple):
    """A metric: its name, what it means, its labels, and its buckets if it is a histogram."""

    name: str
    help: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


_OF = ("app", "processor")
_TO = ("app", "stream")
_SCRIPT = ("script",)

PROCESSED = Family(
    "runnel_events_processed",
    "What became of events: ok is committed, the others were given up.",
    (*_OF, "result"),
)
FAILURES = Family(
    "runnel_event_failures",
    "Tries that failed, by what followed. Those with retry are the retries.",
    (*_OF, "decision"),
)
PROCESS_SECONDS = Family(
    "runnel_event_process_duration_seconds",
    "How long the handler had an event; of a list, the share of each.",
    _OF,
    SECONDS,
)
LATENCY = Family(
    "runnel_event_latency_seconds", "From when an event was added until its commit.", _OF, SECONDS
)
BATCH_SIZE = Family(
    "runnel_batch_size_events", "Events of a list that the handler got.", _OF, EVENTS
)
COMMIT_SECONDS = Family(
    "runnel_commit_duration_seconds",
    "From the first call for a commit until it is done, repeats included.",
    _OF,
    SECONDS,
)
COMMIT_SIZE = Family("runnel_commit_size_events", "Events of a commit.", _OF, EVENTS)
LEASES_LOST = Family(
    "runnel_leases_lost",
    "Leases that ended without a release, by the word of the refusal.",
    (*_OF, "reason"),
)
SENT = Family("runnel_events_sent", "Events that were sent, without those emitted.", _TO)
SEND_SECONDS = Family(
    "runnel_send_duration_seconds", "How long a send took that succeeded.", _TO, SECONDS
)
SEND_FAILURES = Family(
    "runnel_send_failures", "Sends that raised, by the exception.", (*_TO, "error")
)
SCRIPT_CALLS = Family(
    "runnel_script_calls", "Calls of a script, by the error word or OK.", (*_SCRIPT, "code")
)
SCRIPT_SECONDS = Family(
    "runnel_script_duration_seconds",
    "Round trips with calls of a script, of which one may have many.",
    _SCRIPT,
    SECONDS,
)
FAMILIES = (
    *(PROCESSED, FAILURES, PROCESS_SECONDS, LATENCY, BATCH_SIZE, COMMIT_SECONDS, COMMIT_SIZE),
    *(LEASES_LOST, SENT, SEND_SECONDS, SEND_FAILURES, SCRIPT_CALLS, SCRIPT_SECONDS),
)
_BY_NAME = {each.name: each for each in FAMILIES}


class Histogram:
    """How many observations were at most as large as each bound; the last count has the others."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """`times` observations of this value."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times


class Counter:
    """A number that only rises."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


Row = list[Any]


class Tally:
    """The counters and histograms of one process, or of several.

    One thread writes a series at a time; any may read.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, ...], Counter | Histogram] = {}

    def counter(self, family: Family, *labels: str) -> Counter:
        """The counter with these values of its labels."""
        found = self._series.get((family.name, *labels))
        if found is None:
            found = self._series.setdefault((family.name, *labels), Counter())
        assert isinstance(found, Counter)
        return found

    def histogram(self, family: Family, *labels: str) -> Histogram:
        """The histogram with these values of its labels."""
        found = self._series.get((family.name, *labels))
        if found is None:
            made = Histogram(family.buckets)
            found = self._series.setdefault((family.name, *labels), made)
        assert isinstance(found, Histogram)
        return found

    def rows(self) -> list[Row]:
        """Everything, for JSON: the name and the labels of each series, and its numbers."""
        return [
            [*key, [*each.counts, each.sum] if isinstance(each, Histogram) else each.value]
            for key, each in list(self._series.items())
        ]

    def add(self, rows: Iterable[Row]) -> None:
        """Add what `rows` has returned, of another process. Unknown families are left out."""
        for name, *labels, numbers in rows:
            family = _BY_NAME.get(name)
            if family is None or len(labels) != len(family.labels):
                continue
            if not family.buckets:
                self.counter(family, *labels).value += numbers
                continue
            histogram = self.histogram(family, *labels)
            *counts, total = numbers
            histogram.sum += total
            histogram.counts = [a + b for a, b in zip(histogram.counts, counts, strict=True)]
