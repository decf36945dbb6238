"""An app that is traced, and the spans that it has made."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runnel import App, Record, Stream
from runnel.otel import instrument


class Order(Record):
    number: int


class _Open(SpanProcessor):
    """Counts the spans that have begun and not ended."""

    def __init__(self) -> None:
        self.count = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.count += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.count -= 1


class Traced:
    """An app with the streams `orders` and `alerts`, each with one partition."""

    def __init__(self, name: str, url: str, *, each_event: bool = False) -> None:
        self.app = App(name, redis_url=url, rebalance_delay=0.0, backoff=0.001)
        self._exporter, self._open = InMemorySpanExporter(), _Open()
        provider = TracerProvider()
        provider.add_span_processor(self._open)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        instrument(self.app, each_event=each_event, tracer_provider=provider)
        #: The tracer of the user's own code.
        self.tracer = provider.get_tracer("user")
        self.orders: Stream[Order] = self.app.stream(
            "orders", record=Order, partition_by="number", partition_count=1
        )
        self.alerts: Stream[Order] = self.app.stream(
            "alerts", record=Order, partition_by="number", partition_count=1
        )

    async def send(self, *numbers: int, headers: dict[str, str] | None = None) -> None:
        """Send orders with these numbers, together."""
        await self.orders.send(*[Order(number=each) for each in numbers], headers=headers)

    async def run(self) -> None:
        """Process what there is, and close."""
        await self.app.run(burst=True)
        await self.app.close()

    @property
    def open(self) -> int:
        """How many spans have begun and not ended."""
        return self._open.count

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """All spans, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """Those with this name."""
        return [each for each in self.spans if each.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one with this name."""
        (found,) = self.named(name)
        return found


def id_of(span: ReadableSpan) -> int:
    """The id of a span."""
    assert span.context is not None
    return int(span.context.span_id)


def trace_of(span: ReadableSpan) -> int:
    """The id of the trace of a span."""
    assert span.context is not None
    return int(span.context.trace_id)


def parent_of(span: ReadableSpan) -> int | None:
    """The id of its parent."""
    return None if span.parent is None else span.parent.span_id


def linked(span: ReadableSpan) -> list[int]:
    """The ids of the spans that it links to."""
    return [each.context.span_id for each in span.links]
