"""Figures that can be added up over processes."""

from __future__ import annotations

import json

import pytest

from runnel.metrics import tally
from runnel.metrics.tally import EVENTS, FAMILIES, SECONDS, Histogram, Tally


def filled(ok: int, *seconds: float) -> Tally:
    found = Tally()
    found.counter(tally.PROCESSED, "shop", "billing", "ok").value += ok
    for each in seconds:
        found.histogram(tally.PROCESS_SECONDS, "shop", "billing").observe(each)
    return found


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (9e9, 12)])
def test_a_value_counts_in_the_first_bucket_that_is_as_large(value: float, bucket: int) -> None:
    histogram = Histogram(EVENTS)
    histogram.observe(value, 3)
    assert histogram.counts[bucket] == sum(histogram.counts) == 3
    assert histogram.sum == 3 * value


def test_the_figures_of_processes_are_one_sum_after_json() -> None:
    total = Tally()
    for each in (filled(2, 0.001, 0.3), filled(5, 0.002), filled(0)):
        total.add(json.loads(json.dumps(each.rows())))
    assert total.counter(tally.PROCESSED, "shop", "billing", "ok").value == 7
    histogram = total.histogram(tally.PROCESS_SECONDS, "shop", "billing")
    assert sum(histogram.counts) == 3
    assert histogram.sum == pytest.approx(0.303)


def test_series_of_another_version_are_left_out() -> None:
    total = Tally()
    total.add([["runnel_of_tomorrow", "shop", 3], ["runnel_events_processed", "shop", 3]])
    assert total.rows() == []


def test_names_and_buckets_are_those_that_prometheus_asks_for() -> None:
    names = [each.name for each in FAMILIES]
    assert len(set(names)) == len(names)
    for each in FAMILIES:
        assert each.name.startswith("runnel_")
        assert not each.name.endswith("_total"), "the library adds it"
        assert "partition" not in each.labels, "one series for each would be too many"
        assert "key" not in each.labels
        unit = {SECONDS: "_seconds", EVENTS: "_events", (): ""}[each.buckets]
        assert each.name.endswith(unit)
        assert list(each.buckets) == sorted(each.buckets)
