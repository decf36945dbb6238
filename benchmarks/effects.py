"""What a state write or an emit for each event costs: beside a loop that is written by hand, and
beside the same handler without it. And how soon a partition with a large table is taken over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, Sample
from benchmarks.table_moves import takeover_row
from benchmarks.throughput import preload, run_raw, run_runnel

PARTITIONS = 16
EVENTS = 120_000
HASH_LOOP = "HMGET, MULTI"
STREAM_LOOP = "MULTI, XADD"


@dataclass(frozen=True)
class Shape:
    """A form of the handler, with effects and, if `plain` names it, without.

    `loop` is the form of the loop by hand. The keys of `record` come again and again, or each is
    new. Those without a target are left out of a quick run.
    """

    name: str
    title: str
    form: str
    loop: str
    record: str = "payment"
    plain: str = ""
    target: bool = True


SHAPES = [
    Shape("state-one", "a state write, one at a time", "state-one", "state", plain="one"),
    Shape("state-take", "a state write, take(100)", "state-take", "state", plain="take"),
    Shape("emit-same", "an emit, same partitioning", "emit-same", "emit-same"),
    Shape("emit-rekeyed", "an emit, re-keyed", "emit-rekeyed", "emit-rekeyed"),
    Shape(
        "state-new-keys",
        "a state write, each to a new key",
        "state-one",
        "state",
        record="first-payment",
        plain="one",
        target=False,
    ),
]
NAMES = (*(shape.name for shape in SHAPES), "takeover-table")


def measure(bench: Bench) -> Iterator[Row]:
    """The rows of each shape, and one for the take-over."""
    shapes = [shape for shape in SHAPES if bench.wants("effects", shape.name, quick=shape.target)]
    groups: dict[tuple[str, str], list[Shape]] = {}
    for shape in shapes:
        groups.setdefault((shape.record, shape.loop), []).append(shape)
    for (record, loop), group in groups.items():
        with Server() as server:  # A new one for each: what is emitted takes memory.
            preload(server, record, PARTITIONS, EVENTS)
            yield from _compare(bench, server, Job(server.url, loop, record, events=EVENTS), group)
    if bench.wants("effects", "takeover-table"):
        yield takeover_row(bench)


def _compare(bench: Bench, server: Server, loop: Job, group: Sequence[Shape]) -> Iterator[Row]:
    """The loop, and for each shape a row beside the loop, and one beside itself without effects."""
    by_hand = f"loop-{loop.form}-{loop.record}"
    runs = {f"{by_hand}@new": partial(run_raw, bench, server, loop, "raw_effects")}
    for tree in bench.trees:
        for shape in group:
            forms = {shape.name: shape.form}
            if shape.plain:
                forms[f"{shape.name}-plain"] = shape.plain
            for name, form in forms.items():
                job = replace(loop, form=form)
                runs[f"{name}@{tree.name}"] = partial(
                    run_runnel, bench, server, tree, job, "app_effects"
                )
    samples = bench.interleaved(runs)
    title = HASH_LOOP if loop.form == "state" else STREAM_LOOP
    row = Row(by_hand, f"{title} by hand: {loop.form}, {loop.record}", "events/s", [])
    yield bench.row(row, samples, "rate")
    for shape in group:
        yield bench.row(
            Row(shape.name, shape.title, "events/s", [], title), samples, "rate", by_hand
        )
        if shape.plain:
            yield from _beside_plain(bench, shape, samples)


def _beside_plain(bench: Bench, shape: Shape, samples: dict[str, list[Sample]]) -> Iterator[Row]:
    plain, again = f"{shape.name}-plain", f"{shape.name}-of-plain"
    for tree in bench.trees:
        samples[f"{again}@{tree.name}"] = samples[f"{shape.name}@{tree.name}"]
    yield bench.row(
        Row(plain, f"the same without it: {shape.plain}", "events/s", []), samples, "rate"
    )
    yield bench.row(Row(again, shape.title, "events/s", [], "without it"), samples, "rate", plain)
