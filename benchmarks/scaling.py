"""Throughput of one worker with few and with many partitions, and of two workers against one."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks.children import Tree, start, wait_until
from benchmarks.groups import Watched, pause
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, Sample, column
from benchmarks.server import Server, cpu_seconds
from benchmarks.targets import CORES_ALLOW
from benchmarks.throughput import WORKER, logs, preload, run_runnel

USUAL = 16
#: Partitions of the stream that one worker holds; a quick run leaves out those without a target.
COUNTS = {1: False, 128: False, 1024: True}
NAMES = (*(f"partitions-{count}" for count in COUNTS), "processes-2")
#: As many as 1,024 buffers hold are handled before the clock starts. They are full then, so that
#: more than they hold must be handled behind that for a rate that tells.
WARMUP = 210_000


def measure(bench: Bench) -> Iterator[Row]:
    """A row for each count, and one for two processes."""
    counts = [
        count
        for count, target in COUNTS.items()
        if bench.wants("scaling", f"partitions-{count}", quick=target)
    ]
    if counts:
        yield from _partitions(bench, counts)
    if bench.wants("scaling", "processes-2"):
        yield from _processes(bench)


def _partitions(bench: Bench, counts: list[int]) -> Iterator[Row]:
    events = WARMUP + (200_000 if bench.quick else 400_000)
    with Server() as server:
        for count in (USUAL, *counts):
            preload(server, "order", count, events)
        runs = {
            f"partitions-{count}@{tree.name}": partial(
                run_runnel,
                bench,
                server,
                tree,
                Job(server.url, partitions=count, events=events, warmup=WARMUP),
            )
            for tree in bench.trees
            for count in (USUAL, *counts)
        }
        samples = bench.interleaved(runs, 2 if bench.quick else 3)
    reference = {tree.name: samples[f"partitions-{USUAL}@{tree.name}"] for tree in bench.trees}
    yield bench.row(
        Row(f"partitions-{USUAL}", f"one at a time, {USUAL} partitions", "events/s", []),
        samples,
        "rate",
    )
    for count in counts:
        title = f"one at a time, {count:,} partition{'s' if count > 1 else ''}"
        yield bench.row(
            Row(f"partitions-{count}", title, "events/s", [], f"{USUAL} partitions"),
            samples,
            "rate",
            reference["new"],
            reference.get("old", ()),
        )


def _processes(bench: Bench) -> Iterator[Row]:
    events = 200_000 if bench.quick else 800_000
    with Server() as server:
        preload(server, "order", USUAL, events)
        runs = {
            f"processes-{count}@{tree.name}": partial(_workers, bench, server, tree, count, events)
            for tree in bench.trees
            for count in (1, 2)
        }
        samples = bench.interleaved(runs, 2 if bench.quick else 3)
    row = Row("processes-1", "one at a time, 1 process", "events/s", [])
    yield bench.row(row, samples, "rate")
    row = Row("processes-2", "one at a time, 2 processes", "events/s", [], "1 process")
    reference = {tree.name: samples[f"processes-1@{tree.name}"] for tree in bench.trees}
    bench.row(row, samples, "rate", reference["new"], reference.get("old", ()))
    # One worker and its server use more than one core: two of them cannot do twice as much on two.
    used = statistics.median(column(reference["new"], "cores"))
    row.details[CORES_ALLOW] = min(2.0, (os.cpu_count() or 1) / used)
    yield row


def _workers(bench: Bench, server: Server, tree: Tree, count: int, events: int) -> Sample:
    """So many workers share the partitions while these are paused, and then go."""
    job = Job(server.url, name=bench.fresh_name(), partitions=USUAL, warmup=1)
    group = Watched(server, job.record, USUAL, job.name)
    asyncio.run(pause(job, True))
    with ExitStack() as stack:
        children = [
            stack.enter_context(start(tree, WORKER, job, RUNNEL_SESSION="60")) for _ in range(count)
        ]

        def shared() -> bool:
            for child in children:
                child.check()
            return group.shared_by(count)

        wait_until(shared)
        for child in children:
            child.say("go")
            child.hear("collector")
        cpu = sum(cpu_seconds(child.pid) for child in children)
        before = server.snapshot()
        asyncio.run(pause(job, False))
        started = min(child.hear("started") for child in children)
        while server.lag(logs(job.record, USUAL), job.name):
            time.sleep(0.005)
        seconds = time.monotonic() - started
        cpu = sum(cpu_seconds(child.pid) for child in children) - cpu
        spent = server.snapshot().since(before)
        return {
            "rate": events / seconds,
            "worker_us": cpu / events * 1e6,
            "server_us": spent.cpu / events * 1e6,
            "cores": (cpu + spent.cpu) / seconds,
        }
