"""The spans of one partition under one lease: receive, process and ack."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from runnel.observer import PartitionObserver
from runnel.otel import conventions as names
from runnel.otel.spans import MOST_LINKS, added_at, context_of, fail, links_to, sent_by
from runnel.protocol.ids import parts

#: Events of a handler that gets one at a time, which one span covers at most.
MOST_EVENTS = 100
#: Spans of which the commit is remembered to be due.
MOST_SPANS = 1000


class BatchSpans(PartitionObserver):
    """A span for all events that wait together, or that the handler gets as a list."""

    def __init__(self, tracer: Tracer, attributes: Mapping[str, Any]) -> None:
        self._tracer = tracer
        self._attributes = attributes
        self._stream = attributes[names.DESTINATION]
        #: The context of the handler, outside of any event.
        self._base: Context | None = None
        self._asked_at = time.time_ns()
        #: The span of the events in hand; how many the handler got, how many of them it has
        #: finished, and how many more it may get.
        self._span: Span | None = None
        self._events = self._done = self._left = 0
        #: The spans of events that are processed beside others, by their ids.
        self._beside: dict[bytes, Span] = {}
        self._beside_others = False
        #: The spans whose events may not be committed yet, each behind its first event; and the
        #: span of the commit under way.
        self._uncommitted: deque[tuple[tuple[int, int], SpanContext]] = deque(maxlen=MOST_SPANS)
        self._commit: Span | None = None

    # One event, or one list, at a time

    def asked(self, ready: bool) -> None:
        if ready and self._left > 0:
            return
        self._asked_at = time.time_ns()
        self._end()
        if self._base is not None:
            context.attach(self._base)

    def given(self, events: Sequence[Any], limit: int, waiting: int) -> None:
        if self._span is not None:  # It goes on.
            self._add(events)
            return
        base = self._base = context.get_current()
        more = min(waiting, MOST_EVENTS - 1) if limit == 1 else 0
        self._begin(events, base, alone=len(events) == 1 and not more, more=more)

    def given_next(self, event: Any) -> None:
        self._add([event])

    def may_go_on(self) -> bool:
        return self._left > 0

    def finished(self, events: Sequence[Any]) -> None:
        self._done += len(events)
        ahead = self._done - self._events
        if ahead > 0:  # A thread has taken these by itself.
            self._add(events[-ahead:])

    def failed(self, error: BaseException, decision: str) -> None:
        span, self._span = self._span, None
        if span is not None:
            span.set_attribute(names.DECISION, decision)
            fail(span, error)

    def _begin(self, events: Sequence[Any], base: Context, *, alone: bool, more: int) -> None:
        """Begin with events, which the handler has `alone`, or with more to follow."""
        parent = context_of(events[0], base) if alone else base
        links = links_to(events)
        if not self._beside_others:
            receive = self._receive(events, parent, links)
            if not alone:  # Of several traces none is continued: a new one begins.
                parent = trace.set_span_in_context(receive, base)
        attributes = {} if more else self._of_events(events)
        self._span = self._start("process", SpanKind.CONSUMER, parent, links, attributes)
        self._events, self._done, self._left = len(events), 0, more
        self._uncommitted.append((parts(events[0][0].decode()), self._span.get_span_context()))
        context.attach(trace.set_span_in_context(self._span, parent))

    def _add(self, events: Sequence[Any]) -> None:
        """The handler has further events, for which the span is, too."""
        self._left -= len(events)
        span = self._span
        if span is None:
            return
        for each in events[: max(0, MOST_LINKS - self._events)]:
            if (found := sent_by(each)).is_valid:
                span.add_link(found, {names.MESSAGE: each[0].decode()})
        self._events += len(events)

    def _end(self) -> None:
        span, self._span, self._left = self._span, None, 0
        if span is not None:
            if self._events > 1:
                span.set_attribute(names.BATCH_COUNT, self._events)
            span.end()

    def _receive(self, events: Sequence[Any], parent: Context, links: Sequence[Link]) -> Span:
        """The span from when the handler had asked, and the first event was there."""
        now = time.time_ns()
        began = min(max(self._asked_at, added_at(events[0])), now)
        attributes = self._of_events(events)
        span = self._start("receive", SpanKind.CLIENT, parent, links, attributes, began)
        span.end(now)
        return span

    def _start(
        self,
        operation: str,
        kind: SpanKind,
        parent: Context | None,
        links: Sequence[Link],
        attributes: Mapping[str, Any],
        began: int | None = None,
    ) -> Span:
        return self._tracer.start_span(
            f"{operation} {self._stream}",
            parent,
            kind,
            {**self._attributes, **names.of_operation(operation), **attributes},
            links,
            began,
        )

    def _of_events(self, events: Sequence[Any]) -> dict[str, Any]:
        if len(events) > 1:
            return {names.BATCH_COUNT: len(events)}
        (event,) = events
        return {names.MESSAGE: event[0].decode(), names.BODY_SIZE: len(event[1][1])}

    # Several events beside one another

    def begins(self, event: Any) -> None:
        self._beside_others = True
        self._begin([event], context.get_current(), alone=True, more=0)
        assert self._span is not None
        self._beside[event[0]], self._span = self._span, None

    def ended(self, event: Any, error: BaseException | None) -> None:
        span = self._beside.pop(event[0], None)
        if span is None:
            return
        if error is None:
            span.end()
        else:
            fail(span, error)

    # Commits

    def committing(self, checkpoint: str, count: int) -> None:
        if self._commit is not None or not count:
            return
        end, waiting = parts(checkpoint), self._uncommitted
        covered = [waiting.popleft() for _ in range(sum(first <= end for first, _ in waiting))]
        spans = [each for _, each in covered] or [trace.INVALID_SPAN_CONTEXT]
        if self._span is not None and spans[-1] == self._span.get_span_context():
            waiting.appendleft(covered[-1])  # It may have further events.
        *others, last = spans[-MOST_LINKS:]
        parent = trace.set_span_in_context(trace.NonRecordingSpan(last), Context())
        attributes: dict[str, Any] = {names.MESSAGE: checkpoint}
        if count > 1:
            attributes[names.BATCH_COUNT] = count
        links = [Link(each) for each in others]
        self._commit = self._start("ack", SpanKind.CLIENT, parent, links, attributes)

    def committed(self, checkpoint: str, count: int) -> None:
        if self._commit is not None:
            self._commit.end()
            self._commit = None

    def closed(self) -> None:
        self._end()
        for span in (*self._beside.values(), *filter(None, [self._commit])):
            span.set_status(Status(StatusCode.ERROR, "the lease has ended"))
            span.end()
        self._beside.clear()
        self._commit = None


class EventSpans(BatchSpans):
    """A span for each event of a handler that gets one at a time."""

    def given(self, events: Sequence[Any], limit: int, waiting: int) -> None:
        super().given(events, limit, 0)
