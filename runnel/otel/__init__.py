"""Traces by OpenTelemetry: ``instrument(app)``. Needs ``runnel[otel]``, which is its API alone:
which SDK there is, and where spans go, is up to your program."""

from __future__ import annotations

try:
    from runnel.otel.tracing import instrument
except ModuleNotFoundError as _error:
    if (_error.name or "").partition(".")[0] == "opentelemetry":
        raise ImportError("traces need another package: pip install 'runnel[otel]'") from _error
    raise

__all__ = ["instrument"]
