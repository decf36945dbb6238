"""`instrument`: spans for what an app sends, receives, processes and commits."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, TracerProvider

from runnel.app import App
from runnel.errors import ConfigError
from runnel.observer import Headers, Lease, Observer, PartitionObserver, SendObserver
from runnel.otel import conventions as names
from runnel.otel.partition_spans import BatchSpans, EventSpans
from runnel.otel.spans import fail, injected


def instrument(
    app: App, *, each_event: bool = False, tracer_provider: TracerProvider | None = None
) -> None:
    """Trace what `app` does in this process from now on.

    Call it where the app is declared. A send writes its trace context (W3C) into the headers of the
    records, so that a worker, in any language, continues the trace. While a handler has events, its
    span is the current one: spans that it starts, and what it sends or emits, hang below.

    A handler that gets one event at a time has a span for up to a hundred events that wait
    together; with `each_event` it has one for each. `tracer_provider` is the global one, if it is
    not given. Raises ConfigError if the app is traced already, or has sent.
    """
    if any(isinstance(each, Tracing) for each in app.observers):
        raise ConfigError(f"app {app.name} is traced already: call instrument(app) once")
    app.observe(Tracing(app, each_event, tracer_provider))


class Tracing(Observer):
    """Makes spans."""

    def __init__(self, app: App, each_event: bool, provider: TracerProvider | None) -> None:
        self._app = app
        self._each_event = each_event
        self._tracer = trace.get_tracer("runnel", version("runnel"), provider)

    def partition(self, lease: Lease) -> PartitionObserver:
        """What makes the spans of a partition."""
        kind = EventSpans if self._each_event else BatchSpans
        return kind(self._tracer, names.of_lease(lease, self._app.settings.redis_url))

    def sending(self, app: str, stream: str, count: int) -> SendObserver:
        """The span of a send."""
        attributes = names.of_stream(app, stream, self._app.settings.redis_url)
        attributes |= names.of_operation("send")
        if count != 1:
            attributes[names.BATCH_COUNT] = count
        return _Send(
            self._tracer.start_span(f"send {stream}", kind=SpanKind.PRODUCER, attributes=attributes)
        )

    def emit_headers(self, given: Headers | None) -> Headers | None:
        """The context of the handler that emits: the emit is part of its commit."""
        return injected(given)


class _Send(SendObserver):
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def headers(self, given: Headers | None) -> Headers | None:
        return injected(given, trace.set_span_in_context(self._span))

    def ended(self, sent: Sequence[Any], error: BaseException | None) -> None:
        if error is not None:
            fail(self._span, error)
            return
        if len(sent) == 1 and sent[0] is not None:
            self._span.set_attribute(names.PARTITION, str(sent[0].partition))
            if (id_ := getattr(sent[0], "id", None)) is not None:
                self._span.set_attribute(names.MESSAGE, id_)
        self._span.end()
