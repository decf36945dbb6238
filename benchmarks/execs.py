"""Events per second of `runnel worker --exec`, beside handlers in Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row
from benchmarks.throughput import preload, run_runnel

PARTITIONS = 16


@dataclass(frozen=True)
class Shape:
    """A row: the app, the form of its handler, its reference, how many events."""

    name: str
    title: str
    app: str
    form: str
    reference: str
    events: int


SHAPES = [
    Shape("python-one", "a handler in Python, one at a time", "app_backlog", "one", "", 60_000),
    Shape("exec", "--exec, one at a time", "app_exec", "one", "python-one", 20_000),
    Shape("python-take", "a handler in Python, take(100)", "app_backlog", "take", "", 60_000),
    Shape("exec-batch", "--exec --batch 100", "app_exec", "take", "python-take", 60_000),
]
NAMES = tuple(shape.name for shape in SHAPES)


def measure(bench: Bench) -> Iterator[Row]:
    """All rows."""
    wanted = [
        shape
        for shape in SHAPES
        if bench.wants("sidecar", shape.name, *_beside(shape), quick=False)
    ]
    if not wanted:
        return
    with Server() as server:
        preload(server, "order", PARTITIONS, max(shape.events for shape in wanted))
        runs = {
            f"{shape.name}@{tree.name}": partial(
                run_runnel,
                bench,
                server,
                tree,
                Job(server.url, shape.form, partitions=PARTITIONS, events=shape.events),
                shape.app,
            )
            for tree in bench.trees
            for shape in wanted
        }
        samples = bench.interleaved(runs)
        for shape in wanted:
            row = Row(shape.name, shape.title, "events/s", [], shape.reference)
            yield bench.row(row, samples, "rate", shape.reference)


def _beside(shape: Shape) -> list[str]:
    """The rows that need this one as their reference."""
    return [each.name for each in SHAPES if each.reference == shape.name]
