"""What a state write for each event costs: beside the same handler without a table, and beside a
loop that is written by hand. And how soon a partition with a large table is taken over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row
from benchmarks.table_moves import takeover_row
from benchmarks.throughput import preload, run_raw, run_runnel

PARTITIONS = 16
EVENTS = 120_000
LOOP = "HMGET, MULTI"


@dataclass(frozen=True)
class Shape:
    """A form of the handler, with a table and without.

    The keys of `record` come again and again, or each is new. Those without a target are left out
    of a quick run.
    """

    name: str
    title: str
    form: str
    record: str
    target: bool = False


SHAPES = [
    Shape("state-one", "one at a time", "one", "payment", target=True),
    Shape("state-take", "take(100)", "take", "payment", target=True),
    Shape("state-new-keys", "one at a time, new keys", "one", "first-payment"),
]
NAMES = (*(shape.name for shape in SHAPES), "takeover-table")


def measure(bench: Bench) -> Iterator[Row]:
    """The rows of each shape, and one for the take-over."""
    shapes = [shape for shape in SHAPES if bench.wants("tables", shape.name, quick=shape.target)]
    if shapes:
        with Server() as server:
            for record in dict.fromkeys(shape.record for shape in shapes):
                preload(server, record, PARTITIONS, EVENTS)
                group = [shape for shape in shapes if shape.record == record]
                yield from _compare(bench, server, record, group)
    if bench.wants("tables", "takeover-table"):
        yield takeover_row(bench)


def _compare(bench: Bench, server: Server, record: str, group: Sequence[Shape]) -> Iterator[Row]:
    """Three rows for each shape: without a table; with one; and the same beside the loop."""
    loop, title = f"loop-{record}", f"{LOOP} by hand: {record}"
    job = Job(server.url, "one", record, events=EVENTS)
    runs = {f"{loop}@new": partial(run_raw, bench, server, job, "raw_tables")}
    for tree in bench.trees:
        for shape in group:
            for name, form in (
                (f"{shape.name}-none", shape.form),
                (shape.name, f"state-{shape.form}"),
            ):
                job = Job(server.url, form, record, events=EVENTS)
                runs[f"{name}@{tree.name}"] = partial(
                    run_runnel, bench, server, tree, job, "app_tables"
                )
    samples = bench.interleaved(runs)
    yield bench.row(Row(loop, title, "events/s", []), samples, "rate")
    for shape in group:
        none, beside = f"{shape.name}-none", f"{shape.name}-loop"
        for tree in bench.trees:
            if (of_tree := samples.get(f"{shape.name}@{tree.name}")) is not None:
                samples[f"{beside}@{tree.name}"] = of_tree
        title = f"a state write, {shape.title}"
        yield bench.row(Row(none, f"no state, {shape.title}", "events/s", []), samples, "rate")
        row = Row(shape.name, title, "events/s", [], "no state")
        yield bench.row(row, samples, "rate", none)
        row = Row(beside, title, "events/s", [], LOOP)
        yield bench.row(row, samples, "rate", loop)
