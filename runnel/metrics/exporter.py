"""Turns a report of `inspect` into metrics for Prometheus. No I/O.

The figures of partitions come from Redis, never from workers: a worker that has lost a partition
would go on telling its last lag for ever. A value that is unknown is absent, not 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from runnel.operations.stream_states import wrong_streams
from runnel.protocol.ids import parts

Json = dict[str, Any]

CONTENT_TYPE = CONTENT_TYPE_LATEST
#: The states of a partition and of a processor, in which a series each is 0 or 1.
PARTITION_STATES = ("owned", "moving", "unassigned", "quarantined", "paused")
PROCESSOR_STATES = ("ok", "degraded", "stalled", "down")

_PROCESSOR = ("app", "processor", "stream")
_PARTITION = (*_PROCESSOR, "partition")


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one look at Redis has brought: a report, or None if it failed. It took so many
    `seconds`; the last one that brought a report ended at `succeeded_at`, in seconds since 1970."""

    report: Json | None
    seconds: float
    succeeded_at: float | None


def exposition(scrape: Scrape) -> bytes:
    """The metrics of a scrape, in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Report(scrape))
    return generate_latest(registry)


class _Report(Collector):
    """The metrics of one scrape."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        scrape, report = self._scrape, self._scrape.report
        yield _gauge(
            "runnel_exporter_up", "1 if Redis has answered, else 0.", (), [((), report is not None)]
        )
        yield _gauge(
            "runnel_exporter_scrape_duration_seconds",
            "How long it took to read the figures from Redis.",
            (),
            [((), scrape.seconds)],
        )
        yield _gauge(
            "runnel_exporter_last_success_timestamp_seconds",
            "When Redis last answered, in seconds since 1970.",
            (),
            [((), scrape.succeeded_at)],
        )
        if report is not None:
            yield from _of_partitions(report)
            yield from _of_processors(report)
            yield from _of_streams(report)
            yield from _wrong(report)


#: A name, its help, the field of a partition, and the factor from its unit to that of the metric.
_GAUGES = (
    ("lag_events", "Events behind the checkpoint.", "lag_events", 1),
    ("lag_seconds", "Age of the first unfinished event.", "lag_ms", 0.001),
    (
        "current_event_seconds",
        "For how long its owner has had this event.",
        "current_event_ms",
        0.001,
    ),
    ("session_left_seconds", "What is left of the session of its owner.", "session_left_ms", 0.001),
    ("epoch", "The epoch of its lease: each change is a new owner or a new claim.", "epoch", 1),
    ("attempts", "How often the event in hand has failed.", "attempts", 1),
    ("failing", "1 if its event keeps failing, or its workers keep dying.", "failing", 1),
    ("parked_events", "Events that were set aside and can be replayed.", "parked", 1),
    ("postponed_events", "Events that have failed and wait for their next try.", "postponed", 1),
    ("outbox_entries", "Emitted entries that are not forwarded yet.", "outbox", 1),
)
_COUNTERS = (
    ("processed_events", "Events that were processed.", "processed"),
    ("lost_events", "Events that were lost before they were processed.", "lost"),
)


def _of_partitions(report: Json) -> Iterator[Metric]:
    rows = [
        ((each["app"], each["name"], each["stream"], str(row["id"])), row)
        for each in report["processors"]
        for row in each["partitions"]
    ]
    for name, text, field, factor in _GAUGES:
        values = [(labels, _times(row[field], factor)) for labels, row in rows]
        yield _gauge(f"runnel_partition_{name}", text, _PARTITION, values)
    yield _gauge(
        "runnel_partition_checkpoint_timestamp_seconds",
        "When the last event was added that is finished, in seconds since 1970.",
        _PARTITION,
        [(labels, _added(row["checkpoint"])) for labels, row in rows],
    )
    yield _gauge(
        "runnel_partition_waiting",
        "1 if a commit, or what was emitted, finds no room in a stream, or Redis refuses it.",
        _PARTITION,
        [(labels, bool(row["waits_for"] or row["outbox_waits_for"])) for labels, row in rows],
    )
    yield _gauge(
        "runnel_partition_overdue_seconds",
        "For how long its first delayed event has been due, 0 if none is.",
        _PARTITION,
        [(labels, (row["overdue_ms"] or 0) / 1000) for labels, row in rows],
    )
    yield _states("runnel_partition_state", _PARTITION, PARTITION_STATES, rows)
    for name, text, field in _COUNTERS:
        yield _counter(
            f"runnel_partition_{name}",
            text,
            _PARTITION,
            [(labels, row[field]) for labels, row in rows],
        )


def _of_processors(report: Json) -> Iterator[Metric]:
    rows = [((each["app"], each["name"], each["stream"]), each) for each in report["processors"]]
    yield _states("runnel_processor_state", _PROCESSOR, PROCESSOR_STATES, rows)
    members = [(each["app"], each["processor"]) for each in report["members"]]
    yield _gauge(
        "runnel_members",
        "Live members of the group of a processor.",
        _PROCESSOR,
        [(labels, members.count(labels[:2])) for labels, _ in rows],
    )
    yield _gauge(
        "runnel_dead_letters",
        "Dead letters of a processor that nobody has read.",
        _PROCESSOR,
        [(labels, (row["dead_letters"] or {}).get("waiting")) for labels, row in rows],
    )
    yield _gauge(
        "runnel_processor_mixed",
        "1 if its members run different versions.",
        _PROCESSOR,
        [(labels, row["mixed"]) for labels, row in rows],
    )
    tables = [((*labels[:2], each["name"]), each) for labels, row in rows for each in row["tables"]]
    for field in ("keys", "bytes"):
        yield _gauge(
            f"runnel_table_{field}",
            f"{field.capitalize()} of a table.",
            ("app", "processor", "table"),
            [(labels, each[field]) for labels, each in tables],
        )


def _of_streams(report: Json) -> Iterator[Metric]:
    rows = [((each["app"], each["name"]), each) for each in report["streams"]]
    for name, text, field, factor in (
        ("length_events", "Events that a stream holds, finished ones too.", "length", 1),
        ("oldest_event_seconds", "Age of its oldest event.", "oldest_ms", 0.001),
        ("delayed_events", "Events that are sent later.", "delayed", 1),
    ):
        values = [(labels, _times(row[field], factor)) for labels, row in rows]
        yield _gauge(f"runnel_stream_{name}", text, ("app", "stream"), values)


def _wrong(report: Json) -> Iterator[Metric]:
    """What is wrong with streams and with the clock, as `inspect` finds it."""
    names = [(each["app"], each["name"]) for each in report["streams"]]
    wrong = list(wrong_streams(report))
    by_name = {(each.stream["app"], each.stream["name"]): each for each in wrong}
    full = {labels: len(each.partitions) for labels, each in by_name.items()}
    unread = {labels: each.unread for labels, each in by_name.items()}
    yield _gauge(
        "runnel_stream_full_partitions",
        "Partitions that refuse events, because a processor has not finished the oldest.",
        ("app", "stream"),
        [(labels, full.get(labels, 0)) for labels in names],
    )
    yield _gauge(
        "runnel_stream_unread",
        "1 if it holds events that no processor reads.",
        ("app", "stream"),
        [(labels, unread.get(labels, False)) for labels in names],
    )
    yield _gauge(
        "runnel_server_clock_behind_seconds",
        "By how much the server's clock is behind the newest event: it was set back. Else 0.",
        (),
        [((), max((each.ahead_ms for each in wrong), default=0) / 1000)],
    )


Values = Iterable[tuple[Sequence[str], float | None]]


def _gauge(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=labels)
    for each, value in values:
        if value is not None:
            metric.add_metric(each, float(value))
    return metric


def _counter(name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
    metric = CounterMetricFamily(name, text, labels=labels)
    for each, value in values:
        if value is not None:
            metric.add_metric(each, float(value))
    return metric


def _states(
    name: str, labels: Sequence[str], states: Sequence[str], rows: Iterable[tuple[Any, Json]]
) -> Metric:
    values = [((*each, state), row["state"] == state) for each, row in rows for state in states]
    return _gauge(name, "1 for the state that it is in, else 0.", (*labels, "state"), values)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _added(id_: str | None) -> float | None:
    """When the event with an id was added; None if there is none."""
    return parts(id_)[0] / 1000 if id_ and id_ != "0-0" else None
