"""Throughput of one worker with few and with many partitions, and of two workers against one."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from benchmarks.children import Child, Tree, start, wait_until
from benchmarks.groups import Watched, pause
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, Sample, column, medians, ratios
from benchmarks.server import Server, cpu_seconds
from benchmarks.targets import CORES_ALLOW, RAW_LOOPS
from benchmarks.throughput import RAW, WORKER, fill, logs, run_runnel
from runnel.settings import Settings

USUAL = 16
#: Partitions of the stream that one worker holds; a quick run leaves out those without a target.
COUNTS = {1: False, 128: False, 1024: True}
NAMES = (*(f"partitions-{count}" for count in COUNTS), "processes-2")
#: Events of a partition that a worker has in memory at the most. As many of each are handled before
#: the clock starts, and left when it stops: what is timed was read meanwhile.
AHEAD = 2 * Settings().prefetch
#: Part of the backlog that two workers leave: near its end one of them has nothing to do.
REST = 0.2


def measure(bench: Bench) -> Iterator[Row]:
    """A row for each count, and one for two processes."""
    counts = [
        count
        for count, target in COUNTS.items()
        if bench.wants("scaling", f"partitions-{count}", quick=target)
    ]
    processes = bench.wants("scaling", "processes-2")
    if not counts and not processes:
        return
    backlog = 400_000 if bench.quick else 800_000
    with Server() as server:
        fill(server, "order", USUAL, backlog)
        if counts:
            yield from _partitions(bench, server, counts)
        if processes:
            yield from _processes(bench, server, backlog)


def _partitions(bench: Bench, server: Server, counts: list[int]) -> Iterator[Row]:
    timed = 150_000 if bench.quick else 400_000
    jobs = {}
    for count in (USUAL, *counts):
        warmup = count * AHEAD
        jobs[count] = Job(server.url, partitions=count, events=warmup + timed, warmup=warmup)
        if count != USUAL:
            fill(server, "order", count, warmup + timed + count * AHEAD)
    runs = {
        f"partitions-{count}@{tree.name}": partial(run_runnel, bench, server, tree, job)
        for tree in bench.trees
        for count, job in jobs.items()
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


def _processes(bench: Bench, server: Server, backlog: int) -> Iterator[Row]:
    runs: dict[str, Callable[[], Sample]] = {
        f"processes-{count}@{tree.name}": partial(_workers, bench, server, tree, count, backlog)
        for tree in bench.trees
        for count in (1, 2)
    }
    if not bench.quick:
        runs |= {
            f"raw-{count}": partial(_raw_loops, bench, server, count, backlog) for count in (1, 2)
        }
    # More rounds than elsewhere: what else the machine does strikes two processes twice as hard.
    samples = bench.interleaved(runs, 3 if bench.quick else 9)
    row = Row("processes-1", "one at a time, 1 process", "events/s", [])
    yield bench.row(row, samples, "rate")
    row = Row("processes-2", "one at a time, 2 processes", "events/s", [], "1 process")
    reference = {tree.name: samples[f"processes-1@{tree.name}"] for tree in bench.trees}
    bench.row(row, samples, "rate", reference["new"], reference.get("old", ()))
    # One worker and its server use more than one core: two of them cannot do twice as much on two.
    used = statistics.median(column(reference["new"], "cores"))
    row.details[CORES_ALLOW] = min(2.0, (os.cpu_count() or 1) / used)
    if not bench.quick:
        by_hand = _by_hand(samples["raw-1"], samples["raw-2"])
        row.details[RAW_LOOPS] = statistics.median(by_hand[1].ratios)
        yield from by_hand
    yield row


def _by_hand(one: Sequence[Sample], two: Sequence[Sample]) -> tuple[Row, Row]:
    """What raw loops make of a second process, though they share nothing."""
    return (
        Row(
            "raw-processes-1",
            f"{RAW}, 1 process",
            "events/s",
            column(one, "rate"),
            details=medians(one, "rate"),
        ),
        Row(
            "raw-processes-2",
            f"{RAW}s, 2 processes",
            "events/s",
            column(two, "rate"),
            f"1 {RAW}",
            ratios(column(two, "rate"), column(one, "rate")),
            details=medians(two, "rate"),
        ),
    )


def _workers(bench: Bench, server: Server, tree: Tree, count: int, backlog: int) -> Sample:
    """So many workers share the partitions while these are paused, and then go."""
    job = Job(server.url, name=bench.fresh_name(), partitions=USUAL, warmup=1)
    group = Watched(server, job.record, USUAL, job.name)
    asyncio.run(pause(job, True))
    with ExitStack() as stack:
        children = [
            stack.enter_context(start(tree, WORKER, job, RUNNEL_SESSION_TIMEOUT="60"))
            for _ in range(count)
        ]

        def shared() -> bool:
            for child in children:
                child.check()
            return group.shared_by(count)

        wait_until(shared)
        for child in children:
            child.say("go")
            bench.collector = child.hear("collector")
        asyncio.run(pause(job, False))
        return _at_work(server, job, children, backlog * REST)


def _raw_loops(bench: Bench, server: Server, count: int, backlog: int) -> Sample:
    """So many raw loops, each with its part of the partitions."""
    job = Job(server.url, name=bench.fresh_name(), partitions=USUAL, warmup=1)
    job = replace(job, collector=bench.collector, loops=count)
    leases = [f"{log}:{job.name}:lease" for log in logs(job.record, USUAL)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(start(bench.new, ["-m", "benchmarks.raw"], replace(job, loop=loop)))
            for loop in range(count)
        ]

        def ready() -> bool:
            for child in children:
                child.check()
            return bool(server.redis.exists(*leases) == len(leases))

        wait_until(ready)
        for child in children:
            child.say("go")
        return _at_work(server, job, children, backlog * REST)


def _at_work(server: Server, job: Job, children: Sequence[Child], rest: float) -> Sample:
    """From when all these processes are at work until so many events are left."""
    for child in children:
        child.hear("started")
    cpu, before = sum(cpu_seconds(child.pid) for child in children), server.snapshot()
    began, first = time.monotonic(), server.lag(logs(job.record, USUAL), job.name)
    left = first
    while left > rest:
        time.sleep(0.1)  # Asked more often, the questions would be a part of what is measured.
        for child in children:
            child.check()
        left = server.lag(logs(job.record, USUAL), job.name)
    seconds, done = time.monotonic() - began, first - left
    cpu = sum(cpu_seconds(child.pid) for child in children) - cpu
    spent = server.snapshot().since(before)
    return {
        "rate": done / seconds,
        "worker_us": cpu / done * 1e6,
        "server_us": spent.cpu / done * 1e6,
        "cores": (cpu + spent.cpu) / seconds,
    }
