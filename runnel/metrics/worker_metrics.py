"""`WorkerMetrics`: what an app does in this process, for a registry of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from runnel.app import App
from runnel.metrics.counting import Counting
from runnel.metrics.families import build_info, families_of


class WorkerMetrics(Collector):
    """The metrics of what `app` does in this process from now on: events that its workers process,
    and sends.

    Declare it with the app, and a registry of yours exposes it:
    ``REGISTRY.register(WorkerMetrics(app))``. `runnel worker --health-port` needs none. Raises
    ConfigError if the app has sent already.
    """

    def __init__(self, app: App) -> None:
        self._counting = Counting()
        app.observe(self._counting)

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now. Any thread may call this."""
        yield from families_of(self._counting.tally)
        yield build_info([self._counting.build])
