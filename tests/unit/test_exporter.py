"""Metrics for Prometheus, made from a report of `inspect`."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runnel.cli import limits
from runnel.metrics.exporter import PARTITION_STATES, PROCESSOR_STATES, Scrape, exposition
from tests.cli.reports import partition, report, stream, stream_partition, with_dead_letters

OF_BILLING = {"app": "shop", "processor": "billing", "stream": "orders"}


def values(scrape: Scrape) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Name and labels -> value, as Prometheus reads them."""
    text = exposition(scrape).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: dict[Any, float], name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


def test_a_report_becomes_gauges_and_counters_in_base_units() -> None:
    seen = report("degraded", partition(3, lag_ms=61_500, processed=40_213, lost=2, parked=4))
    found = values(Scrape(seen, 0.25, 1_795_435_499.5))
    row = {**OF_BILLING, "partition": "3"}
    assert of(found, "runnel_partition_lag_events", **row) == 1204
    assert of(found, "runnel_partition_lag_seconds", **row) == 61.5
    assert of(found, "runnel_partition_processed_events_total", **row) == 40_213
    assert of(found, "runnel_partition_lost_events_total", **row) == 2
    assert of(found, "runnel_partition_parked_events", **row) == 4
    assert of(found, "runnel_partition_checkpoint_timestamp_seconds", **row) == 1_795_435_471.123
    assert of(found, "runnel_members", **OF_BILLING) == 1
    assert of(found, "runnel_exporter_up") == 1
    assert of(found, "runnel_exporter_scrape_duration_seconds") == 0.25
    assert of(found, "runnel_exporter_last_success_timestamp_seconds") == 1_795_435_499.5


@pytest.mark.parametrize("state", PARTITION_STATES)
def test_exactly_one_state_of_a_partition_is_1(state: str) -> None:
    found = values(Scrape(report("ok", partition(state=state)), 0, 0))
    row = {**OF_BILLING, "partition": "0"}
    states = {
        each: of(found, "runnel_partition_state", **row, state=each) for each in PARTITION_STATES
    }
    assert states == {each: float(each == state) for each in PARTITION_STATES}


@pytest.mark.parametrize("state", PROCESSOR_STATES)
def test_exactly_one_state_of_a_processor_is_1(state: str) -> None:
    found = values(Scrape(report(state), 0, 0))
    states = {
        each: of(found, "runnel_processor_state", **OF_BILLING, state=each)
        for each in PROCESSOR_STATES
    }
    assert states == {each: float(each == state) for each in PROCESSOR_STATES}


def test_what_is_unknown_is_absent() -> None:
    row = partition(lag_events=None, lag_ms=None, checkpoint=None, epoch=None)
    found = values(Scrape(report("down", row), 0, 0))
    names = {name for name, _ in found}
    assert not names & {
        "runnel_partition_lag_events",
        "runnel_partition_lag_seconds",
        "runnel_partition_checkpoint_timestamp_seconds",
        "runnel_partition_epoch",
    }
    assert "runnel_partition_attempts" in names


def test_streams_that_are_full_or_read_by_nobody() -> None:
    seen = report("degraded", partition(lag_events=100))
    full = stream_partition(0, length=100)
    seen["streams"] = [
        stream("orders", full, stream_partition(1)),
        stream("mails", full, stream_partition(1, length=100)),
        stream("quiet", stream_partition(0, length=1), retain="until_full"),
    ]
    found = values(Scrape(seen, 0, 0))
    rows = {
        name: (
            of(found, "runnel_stream_full_partitions", app="shop", stream=name),
            of(found, "runnel_stream_unread", app="shop", stream=name),
        )
        for name in ("orders", "mails", "quiet")
    }
    assert rows == {"orders": (1, 0), "mails": (2, 1), "quiet": (0, 0)}


@pytest.mark.parametrize(("ahead", "seconds"), [(0, 0), (4_999, 0), (3_600_000, 3600)])
def test_a_clock_that_was_set_back(ahead: int, seconds: float) -> None:
    seen = report()
    newest = f"{seen['at_ms'] + ahead}-0"
    seen["streams"] = [stream("orders", stream_partition(0, last=newest)), stream("mails")]
    found = values(Scrape(seen, 0, 0))
    assert of(found, "runnel_server_clock_behind_seconds") == seconds


#: State that `--fail-on` takes -> the metric that tells of it.
METRIC_OF_STATE = {
    "unassigned": "runnel_partition_state",
    "quarantined": "runnel_partition_state",
    "paused": "runnel_partition_state",
    "stalled": "runnel_processor_state",
    "failing": "runnel_partition_failing",
    "waiting": "runnel_partition_waiting",
    "parked": "runnel_partition_parked_events",
    "postponed": "runnel_partition_postponed_events",
    "overdue": "runnel_partition_overdue_seconds",
    "lost": "runnel_partition_lost_events_total",
    "mixed": "runnel_processor_mixed",
    "full": "runnel_stream_full_partitions",
    "unread": "runnel_stream_unread",
    "clock": "runnel_server_clock_behind_seconds",
}


def test_each_state_that_a_command_looks_for_has_its_metric() -> None:
    assert set(METRIC_OF_STATE) == set(limits.STATES)
    room = {"stream": "mails", "reason": "full", "since_ms": 1}
    row = partition(
        state="paused", failing=True, waits_for=room, parked=1, postponed=1, overdue_ms=1, lost=1
    )
    seen = report("stalled", row)
    seen["processors"][0]["mixed"] = True
    full = stream_partition(0, length=100, last=f"{seen['at_ms'] + 10_000}-0")
    seen["streams"] = [stream("mails", full)]
    told = {name for (name, _), value in values(Scrape(seen, 0, 0)).items() if value > 0}
    assert set(METRIC_OF_STATE.values()) <= told
    quiet = partition(lag_events=0)
    told = {name for (name, _), value in values(Scrape(report("ok", quiet), 0, 0)).items() if value}
    states = {"runnel_partition_state", "runnel_processor_state"}
    assert not told & (set(METRIC_OF_STATE.values()) - states)


def test_dead_letters_are_those_that_nobody_has_read() -> None:
    found = values(Scrape(with_dead_letters(3, []), 0, 0))
    assert of(found, "runnel_dead_letters", **OF_BILLING) == 3


def test_without_a_report_only_the_exporter_tells_something() -> None:
    found = values(Scrape(None, 10.0, None))
    assert of(found, "runnel_exporter_up") == 0
    assert {name for name, _ in found} == {
        "runnel_exporter_up",
        "runnel_exporter_scrape_duration_seconds",
    }


def test_names_with_quotes_and_lines_stay_one_label() -> None:
    seen = report()
    seen["processors"][0]["name"] = 'a"b\\c\nd'
    found = values(Scrape(seen, 0, 0))
    assert any(("processor", 'a"b\\c\nd') in labels for _, labels in found)
