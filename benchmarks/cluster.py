"""One server against a Redis Cluster of three masters on the same machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from benchmarks.children import Child, start
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.nodes import Cluster
from benchmarks.rows import Row, Sample
from benchmarks.server import Place, Server
from benchmarks.throughput import preload, run_runnel

NAMES = ("cluster-one", "cluster-send-bulk")
MASTERS = 3
EVENTS = 120_000
#: Records that are sent in each run.
RECORDS = 40_000
ROUNDS = 3
REFERENCE = "one server"


def measure(bench: Bench) -> Iterator[Row]:
    """Rows for handling a backlog and for sending in bulk; before each that of one server."""
    wanted = [name for name in NAMES if bench.wants("cluster", name, quick=False)]
    if not wanted:
        return
    with Server() as server, Cluster(MASTERS) as cluster:
        places: dict[str, Place] = {"server": server, "cluster": cluster}
        if "cluster-one" in wanted:
            yield from _backlog(bench, places)
        if "cluster-send-bulk" in wanted:
            yield from _bulk(bench, places)


def _backlog(bench: Bench, places: Mapping[str, Place]) -> Iterator[Row]:
    for place in places.values():
        preload(place, "order", 16, EVENTS)
    runs = {
        f"{name}-one@{tree.name}": partial(
            run_runnel, bench, place, tree, Job(place.url, events=EVENTS)
        )
        for tree in bench.trees
        for name, place in places.items()
    }
    yield from _rows(bench, bench.interleaved(runs, ROUNDS), "one", "one at a time", "events/s")


def _bulk(bench: Bench, places: Mapping[str, Place]) -> Iterator[Row]:
    with ExitStack() as stack:
        runs = {}
        for tree in bench.trees:
            for name, place in places.items():
                arguments = ["-m", "benchmarks.bulk", str(RECORDS)]
                child = stack.enter_context(start(tree, arguments, Job(place.url)))
                runs[f"{name}-send-bulk@{tree.name}"] = partial(_send, child)
        samples = bench.interleaved(runs, ROUNDS)
    yield from _rows(bench, samples, "send-bulk", "send, 1,000 in a call", "records/s")


def _send(child: Child) -> Sample:
    child.hear("ready")
    child.say("go")
    sample: Sample = child.hear("round")
    return sample


def _rows(
    bench: Bench, samples: Mapping[str, list[Sample]], what: str, title: str, unit: str
) -> Iterator[Row]:
    yield bench.row(Row(f"server-{what}", f"{title}, {REFERENCE}", unit, []), samples, "rate")
    row = Row(f"cluster-{what}", f"{title}, cluster of {MASTERS} masters", unit, [], REFERENCE)
    reference = {tree.name: samples[f"server-{what}@{tree.name}"] for tree in bench.trees}
    yield bench.row(row, samples, "rate", reference["new"], reference.get("old", ()))
