"""Turns the figures of workers into metrics for Prometheus. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from runnel.metrics.tally import FAMILIES, Family, Tally

CONTENT_TYPE = CONTENT_TYPE_LATEST


def families_of(tally: Tally) -> Iterator[Metric]:
    """The metrics of a tally. A family without a series is there, too, without samples."""
    made = {each.name: (each, _family(each)) for each in FAMILIES}
    for name, *labels, numbers in tally.rows():
        family, metric = made[name]
        if isinstance(metric, HistogramMetricFamily):
            *counts, total = numbers
            bounds = [*map(floatToGoString, family.buckets), "+Inf"]
            metric.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
        else:
            metric.add_metric(labels, numbers)
    for _, metric in made.values():
        yield metric


def _family(family: Family) -> CounterMetricFamily | HistogramMetricFamily:
    if family.buckets:
        return HistogramMetricFamily(family.name, family.help, labels=family.labels)
    return CounterMetricFamily(family.name, family.help, labels=family.labels)


def build_info(builds: Iterable[tuple[str, str]]) -> Metric:
    """Which versions of Runnel and of its scripts run."""
    metric = GaugeMetricFamily(
        "runnel_build_info",
        "1, with the version of Runnel and of its scripts.",
        labels=("version", "scripts"),
    )
    for each in builds:
        metric.add_metric(each, 1)
    return metric


def processes(count: int, blocked: float) -> Iterator[Metric]:
    """How many worker processes there are, and for how long an event loop has run nothing."""
    yield GaugeMetricFamily(
        "runnel_worker_processes", "Processes of this worker that tell their figures.", value=count
    )
    text = "For how long the event loop has run nothing; of several processes the longest."
    yield GaugeMetricFamily("runnel_event_loop_blocked_seconds", text, value=blocked)


def others() -> Iterator[Metric]:
    """What else this process has in the registry of prometheus_client, such as metrics of the
    user."""
    for each in REGISTRY.collect():
        if not each.name.startswith("runnel_"):
            yield each


class _Given(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def exposition(metrics: Iterable[Metric]) -> bytes:
    """These metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(list(metrics)))
    return generate_latest(registry)
