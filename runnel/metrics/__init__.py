"""Metrics for Prometheus. Needs ``runnel[metrics]``.

`WorkerMetrics` counts what an app does in this process. The gauges of partitions come from Redis:
see `runnel.metrics.exporter`.
"""

from importlib import import_module
from importlib.util import find_spec

#: What to do without the package that this needs.
MISSING = "metrics need another package: pip install 'runnel[metrics]'"
__all__ = ["WorkerMetrics"]


def hint() -> str:
    """What is missing, to be shown behind the address of metrics; empty if nothing is."""
    return "" if find_spec("prometheus_client") else " (needs pip install 'runnel[metrics]')"


def __getattr__(name: str) -> object:
    """Import `WorkerMetrics` at its first use: a supervisor of workers needs no app."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.worker_metrics"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "prometheus_client":
            raise ImportError(MISSING) from error
        raise
