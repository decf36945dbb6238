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

from benchmarks.children import Child, Tree, start, start_worker, wait_until
from benchmarks.deployment import Meter, Server
from benchmarks.groups import WatchedGroup, pause
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.records import logs
from benchmarks.rows import Row, Sample, column
from benchmarks.targets import CORES_ALLOW, RAW_LOOPS
from benchmarks.throughput import RAW, fill, run_runnel
from runnel.settings import Settings

USUAL = 16
#: Partitions of a stream, and whether a quick run measures it: if it has a target.
COUNTS = {1: False, 128: False, 1024: True}
NAMES = (*(f"partitions-{count}" for count in COUNTS), "processes-2")
#: The most events of a partition that a worker has in memory. As many of each are handled before
#: the clock starts, and left when it stops: the events that are timed were read meanwhile.
AHEAD = 2 * int(Settings.model_fields["prefetch"].default)
#: The part of the backlog that two workers leave: near its end one of them has nothing to do.
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
    row = Row(f"partitions-{USUAL}", f"one at a time, {USUAL} partitions", "events/s", [])
    yield bench.row(row, samples, "rate")
    for count in counts:
        title = f"one at a time, {count:,} partition{'s' if count > 1 else ''}"
        row = Row(f"partitions-{count}", title, "events/s", [], f"{USUAL} partitions")
        yield bench.row(row, samples, "rate", f"partitions-{USUAL}")


def _processes(bench: Bench, server: Server, backlog: int) -> Iterator[Row]:
    runs: dict[str, Callable[[], Sample]] = {
        f"processes-{count}@{tree.name}": partial(_workers, bench, server, tree, count, backlog)
        for tree in bench.trees
        for count in (1, 2)
    }
    if not bench.quick:
        runs |= {
            f"raw-processes-{count}@new": partial(_raw_loops, bench, server, count, backlog)
            for count in (1, 2)
        }
    # More rounds than elsewhere: other programs disturb two processes twice as much.
    samples = bench.interleaved(runs, 3 if bench.quick else 9)
    row = Row("processes-1", "one at a time, 1 process", "events/s", [])
    yield bench.row(row, samples, "rate")
    row = Row("processes-2", "one at a time, 2 processes", "events/s", [], "1 process")
    bench.row(row, samples, "rate", "processes-1")
    # One worker and its server use more than one core: two workers cannot do twice as much on two.
    used = statistics.median(column(samples["processes-1@new"], "cores"))
    row.details[CORES_ALLOW] = min(2.0, (os.cpu_count() or 1) / used)
    if not bench.quick:
        # They share nothing but the server: this is what a second process can gain.
        first = Row("raw-processes-1", f"{RAW}, 1 process", "events/s", [])
        yield bench.row(first, samples, "rate")
        second = Row("raw-processes-2", f"{RAW}s, 2 processes", "events/s", [], f"1 {RAW}")
        yield bench.row(second, samples, "rate", first.name)
        row.details[RAW_LOOPS] = statistics.median(second.ratios)
    yield row


def _workers(bench: Bench, server: Server, tree: Tree, count: int, backlog: int) -> Sample:
    """So many workers share the partitions of a paused processor, which is then resumed."""
    job = Job(server.url, name=bench.fresh_name(), partitions=USUAL, warmup=1)
    group = WatchedGroup(server, job)
    asyncio.run(pause(job, True))
    with ExitStack() as stack:
        children = [
            stack.enter_context(start_worker(tree, "app_backlog", job, RUNNEL_SESSION_TIMEOUT="60"))
            for _ in range(count)
        ]
        wait_until(lambda: group.shared_by(count), children)
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
        wait_until(lambda: server.redis.exists(*leases) == len(leases), children)
        for child in children:
            child.say("go")
        return _at_work(server, job, children, backlog * REST)


def _at_work(server: Server, job: Job, children: Sequence[Child], rest: float) -> Sample:
    """From when all these processes have begun until no more than `rest` events are left."""
    for child in children:
        child.hear("started")
    meter = Meter(server, [child.pid for child in children])
    first = left = server.lag(logs(job.record, USUAL), job.name)
    while left > rest:
        time.sleep(0.1)  # Asked more often, the server's answers would affect the measure.
        for child in children:
            child.check()
        left = server.lag(logs(job.record, USUAL), job.name)
    seconds, done = time.monotonic() - meter.began, first - left
    sample = meter.sample(done)
    cores = (sample["worker_us"] + sample["server_us"]) * done / 1e6 / seconds
    return {"rate": done / seconds, **sample, "cores": cores}
