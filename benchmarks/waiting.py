"""Events per second of handlers that wait, one at a time and many at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row
from benchmarks.throughput import preload, run_runnel

#: Seconds for which a handler waits.
HOLD = 0.01
KEYED = "call"


@dataclass(frozen=True)
class Shape:
    """A row: the form of the handler, its reference, for how long it waits, how many events."""

    name: str
    title: str
    form: str
    reference: str
    hold: float
    events: int


SHAPES = [
    Shape("waits", "waits for 10 ms, one at a time", "alone", "", HOLD, 300),
    Shape("concurrency", "the same, concurrency=100", "together", "waits", HOLD, 20_000),
    Shape("no-wait", "does not wait, one at a time", "alone", "", 0.0, 60_000),
    Shape("no-wait-concurrency", "the same, concurrency=100", "together", "no-wait", 0.0, 60_000),
]
NAMES = tuple(shape.name for shape in SHAPES)


def measure(bench: Bench) -> Iterator[Row]:
    """All rows. One partition, a thousand keys."""
    wanted = [
        shape
        for shape in SHAPES
        if bench.wants("waiting", shape.name, *_beside(shape), quick=bool(shape.hold))
    ]
    if not wanted:
        return
    with Server() as server:
        preload(server, KEYED, 1, max(shape.events for shape in wanted))
        runs = {
            f"{shape.name}@{tree.name}": partial(
                run_runnel,
                bench,
                server,
                tree,
                _job(server, shape),
                "app_waiting",
            )
            for tree in bench.trees
            for shape in wanted
        }
        samples = bench.interleaved(runs)
        for shape in wanted:
            row = Row(shape.name, shape.title, "events/s", [], shape.reference)
            yield bench.row(row, samples, "rate", shape.reference)


def _job(server: Server, shape: Shape) -> Job:
    url, hold = server.url, shape.hold
    return Job(url, shape.form, KEYED, partitions=1, events=shape.events, hold=hold)


def _beside(shape: Shape) -> list[str]:
    """The rows that need this one as their reference."""
    return [each.name for each in SHAPES if each.reference == shape.name]
