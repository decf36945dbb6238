"""Figures of workers become metrics for Prometheus."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter
from prometheus_client.parser import text_string_to_metric_families

from runnel.metrics.families import build_info, exposition, families_of, others, processes
from runnel.metrics.tally import FAMILIES, PROCESS_SECONDS, PROCESSED, Tally


def test_counters_and_histograms_are_read_as_prometheus_reads_them() -> None:
    tally = Tally()
    tally.counter(PROCESSED, "shop", 'a"b\nc', "ok").value = 7
    histogram = tally.histogram(PROCESS_SECONDS, "shop", "billing")
    histogram.observe(0.002, 3)
    histogram.observe(1000)
    text = exposition([*families_of(tally), *processes(2, 0.5), build_info([("1.0", "abc")])])
    found = {each.name: each for each in text_string_to_metric_families(text.decode())}
    assert {each.name for each in FAMILIES} <= set(found)
    (sample,) = found["runnel_events_processed"].samples
    assert (sample.name, sample.value) == ("runnel_events_processed_total", 7)
    assert sample.labels == {"app": "shop", "processor": 'a"b\nc', "result": "ok"}
    of = {
        (each.name.rpartition("_")[2], each.labels.get("le")): each.value
        for each in found["runnel_event_process_duration_seconds"].samples
    }
    assert (of["bucket", "0.001"], of["bucket", "0.0025"], of["bucket", "300.0"]) == (0, 3, 3)
    assert (of["bucket", "+Inf"], of["count", None], of["sum", None]) == (4, 4, 1000.006)
    assert found["runnel_worker_processes"].samples[0].value == 2
    assert found["runnel_build_info"].samples[0].labels == {"version": "1.0", "scripts": "abc"}


def test_what_else_the_process_counts_is_shown_beside() -> None:
    own = Counter("shop_things", "Of the user.")
    twice = Counter("runnel_twice", "Somebody has registered ours there, too.")
    try:
        names = {each.name for each in others()}
    finally:
        REGISTRY.unregister(own)
        REGISTRY.unregister(twice)
    assert "shop_things" in names
    assert "runnel_twice" not in names
