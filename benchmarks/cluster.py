"""One server against a Redis Cluster of three masters on the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial

from benchmarks.children import start
from benchmarks.deployment import Cluster, Deployment, Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, Sample
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
        deployments: dict[str, Deployment] = {"server": server, "cluster": cluster}
        if "cluster-one" in wanted:
            yield from _backlog(bench, deployments)
        if "cluster-send-bulk" in wanted:
            yield from _bulk(bench, deployments)


def _backlog(bench: Bench, deployments: Mapping[str, Deployment]) -> Iterator[Row]:
    for each in deployments.values():
        preload(each, "order", 16, EVENTS)
    runs = {
        f"{name}-one@{tree.name}": partial(
            run_runnel, bench, each, tree, Job(each.url, events=EVENTS)
        )
        for tree in bench.trees
        for name, each in deployments.items()
    }
    yield from _rows(bench, runs, "one", "one at a time", "events/s")


def _bulk(bench: Bench, deployments: Mapping[str, Deployment]) -> Iterator[Row]:
    arguments = ["-m", "benchmarks.sender", "bulk-alone", str(RECORDS)]
    runs = {}
    with ExitStack() as stack:
        for tree in bench.trees:
            for name, each in deployments.items():
                child = stack.enter_context(start(tree, arguments, Job(each.url)))
                child.hear("ready")
                runs[f"{name}-send-bulk@{tree.name}"] = partial(child.ask, "round")
        yield from _rows(bench, runs, "send-bulk", "send, 1,000 in a call", "records/s")


def _rows(
    bench: Bench, runs: Mapping[str, Callable[[], Sample]], what: str, title: str, unit: str
) -> Iterator[Row]:
    samples = bench.interleaved(runs, ROUNDS)
    yield bench.row(Row(f"server-{what}", f"{title}, {REFERENCE}", unit, []), samples, "rate")
    row = Row(f"cluster-{what}", f"{title}, cluster of {MASTERS} masters", unit, [], REFERENCE)
    yield bench.row(row, samples, "rate", f"server-{what}")
