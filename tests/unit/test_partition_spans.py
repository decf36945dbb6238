"""The spans of a partition end, whatever happens to its events."""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from runnel.observer import Lease
from runnel.otel import conventions as names
from runnel.otel.partition_spans import MOST_EVENTS, BatchSpans
from tests.unit.partition_states import events

ATTRIBUTES = names.of_lease(Lease("shop", "billing", "orders", 0, 7, "w-1"), "redis://x")


class Stage:
    """The spans of one partition, and what has ended of them."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.spans = BatchSpans(provider.get_tracer("test"), ATTRIBUTES)

    @property
    def ended(self) -> list[str]:
        return [each.name.partition(" ")[0] for each in self._exporter.get_finished_spans()]

    def last(self) -> Any:
        return self._exporter.get_finished_spans()[-1]


async def in_task(stage: Stage, *calls: tuple[Any, ...]) -> None:
    for name, *given in calls:
        getattr(stage.spans, name)(*given)


async def test_a_span_ends_when_the_handler_asks_for_more() -> None:
    stage = Stage()
    one, two, three = events(1, 2, 3)
    await asyncio.create_task(in_task(stage, ("asked", False), ("given", [one], 1, 2)))
    assert stage.spans.may_go_on()
    await in_task(stage, ("finished", [one]), ("given_next", two), ("finished", [two]))
    await in_task(stage, ("given_next", three), ("finished", [three]))
    assert not stage.spans.may_go_on()
    assert stage.ended == ["receive"]
    await in_task(stage, ("asked", False))
    assert stage.ended == ["receive", "process"]
    assert stage.last().attributes[names.BATCH_COUNT] == 3


async def test_a_span_goes_on_while_events_are_ready() -> None:
    stage = Stage()
    one, two = events(1, 2)
    await in_task(stage, ("asked", True), ("given", [one], 1, 1), ("finished", [one]))
    await in_task(stage, ("asked", True), ("given", [two], 1, 0), ("finished", [two]))
    assert stage.ended == ["receive"]
    await in_task(stage, ("asked", True))
    assert stage.ended == ["receive", "process"], "it has had all that waited at its start"
    assert stage.last().attributes[names.BATCH_COUNT] == 2


async def test_no_more_than_a_bounded_number_is_in_one_span() -> None:
    stage = Stage()
    await in_task(stage, ("given", events(1), 1, 5000))
    for each in events(*range(2, MOST_EVENTS + 1)):
        assert stage.spans.may_go_on()
        stage.spans.given_next(each)
    assert not stage.spans.may_go_on()


async def test_a_commit_that_is_repeated_has_one_span_below_what_it_settles() -> None:
    stage = Stage()
    await in_task(
        stage, ("given", events(1, 2), 5, 0), ("finished", events(1, 2)), ("asked", False)
    )
    process = stage.last().context.span_id
    await in_task(
        stage, ("committing", "2-0", 2), ("committing", "2-0", 2), ("committed", "2-0", 2)
    )
    assert stage.ended == ["receive", "process", "ack"]
    assert stage.last().parent.span_id == process
    await in_task(stage, ("committing", "2-0", 0), ("committed", "2-0", 0))
    assert stage.ended == ["receive", "process", "ack"], "a release commits nothing"


async def test_the_end_of_the_lease_ends_all() -> None:
    stage = Stage()
    one, two = events(1, 2)
    await in_task(stage, ("begins", one), ("begins", two), ("committing", "1-0", 1))
    for _ in range(2):
        stage.spans.closed()
    assert sorted(stage.ended) == ["ack", "process", "process"]
    stage.spans.ended(one, None)
    assert len(stage.ended) == 3


async def test_what_runs_beside_has_each_its_own_context() -> None:
    stage = Stage()
    seen = []

    async def handler(event: Any) -> None:
        stage.spans.begins(event)
        await asyncio.sleep(0)
        seen.append(trace.get_current_span().get_span_context().span_id)
        stage.spans.ended(event, None)

    await asyncio.gather(*map(handler, events(1, 2, 3)))
    assert len(set(seen)) == 3
    assert stage.ended == ["process"] * 3
