"""Contexts in the headers of events, and what spans have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode

from runnel.codec.entry import EntryCodec
from runnel.observer import Headers
from runnel.otel.conventions import ERROR_TYPE, MESSAGE

#: Links of a span: an SDK keeps as many, unless it is told otherwise.
MOST_LINKS = 128
#: The header of a trace context. Who gives it knows better what the event belongs to.
PARENT = "traceparent"


def injected(given: Headers | None, context: Context | None = None) -> Headers | None:
    """The headers, with the context: the current one, or another."""
    if given is not None and (not isinstance(given, Mapping) or PARENT in given):
        return given
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    if not carrier:
        return given
    return {**carrier, **(given or {})}


def context_of(event: Any, base: Context) -> Context:
    """The context in which an event was sent, on top of another one."""
    headers = EntryCodec.headers(event[1])
    return propagate.extract(headers, base) if headers else base


def sent_by(event: Any) -> SpanContext:
    """The span in which an event was sent. It is not valid if there is none."""
    return trace.get_current_span(context_of(event, Context())).get_span_context()


def links_to(events: Sequence[Any]) -> list[Link]:
    """Links to the spans in which events were sent."""
    return [
        Link(found, {MESSAGE: event[0].decode()})
        for event in events[:MOST_LINKS]
        if (found := sent_by(event)).is_valid
    ]


def added_at(event: Any) -> int:
    """When an event was added, in ns since 1970, by the clock of the server."""
    ms: bytes = event[0].partition(b"-")[0]
    return int(ms) * 1_000_000


def fail(span: Span, error: BaseException) -> None:
    """Note an error, and end the span."""
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    span.set_attribute(ERROR_TYPE, name)
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"{kind.__name__}: {error}"))
    span.end()
