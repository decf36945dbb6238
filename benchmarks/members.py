"""A group of one, ten and a hundred members: what it gets done, how soon it settles, and what it
costs the server while nothing happens.

A hundred processes do not start in good time, so members are forked (see `forks`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.children import Child, Tree, start, wait_until
from benchmarks.groups import Watched, pause
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.resources import Monitor
from benchmarks.rows import Row, Sample
from benchmarks.server import Server, cpu_seconds, machine_busy
from benchmarks.throughput import logs, preload

COUNTS = (1, 10, 100)
NAMES = tuple(f"members-{count}" for count in COUNTS)
#: Enough that each of a hundred members, and one more, has some.
PARTITIONS = 128
EVENTS = 250_000
ROUNDS = 2
#: Seconds for which idle groups are watched: two of a member's reads and three of its heartbeats.
WATCHED = 10.0
#: Seconds from the last event until all is done that its partitions are looked at for once more: at
#: the next heartbeat, and when a read that waits five seconds finds nothing.
AFTERWARDS = 6.0
FORKS = ["-m", "benchmarks.forks"]


def measure(bench: Bench) -> Iterator[Row]:
    """A row for each size. The smallest is the reference of the others."""
    alone, *more = COUNTS
    more = [count for count in more if bench.wants("members", f"members-{count}", quick=False)]
    if not more and not bench.wants("members", f"members-{alone}", quick=False):
        return
    counts = (alone, *more)
    with Server() as server:
        preload(server, "order", PARTITIONS, EVENTS)
        runs = {
            f"members-{count}@{tree.name}": partial(_group, bench, server, tree, count)
            for tree in bench.trees
            for count in counts
        }
        samples = bench.interleaved(runs, ROUNDS)
    idle = _idle(bench, counts)
    reference = {tree.name: samples[f"members-{alone}@{tree.name}"] for tree in bench.trees}
    for count in counts:
        title = f"{count} forked member{'s' if count > 1 else ''}, {PARTITIONS} partitions"
        row = Row(f"members-{count}", title, "events/s", [], "1 member" if count > alone else "")
        beside = (reference["new"], reference.get("old", ())) if count > alone else ()
        row = bench.row(row, samples, "rate", *beside)
        row.details["idle calls/s"] = idle[count]
        yield row


def _group(bench: Bench, server: Server, tree: Tree, count: int) -> Sample:
    """So many members share the partitions while these are paused, and then go. In the end one
    more joins them."""
    job = Job(server.url, name=bench.fresh_name(), partitions=PARTITIONS)
    group = Watched(server, job.record, PARTITIONS, job.name)
    asyncio.run(pause(job, True))
    with start(tree, FORKS, job) as forks:
        settled = _grow(forks, group, count, count)
        busy, own, cpu = machine_busy(), time.process_time(), _cpu(forks)
        before, opened = server.snapshot(), time.monotonic()
        asyncio.run(pause(job, False))
        started = forks.hear("started")
        while server.lag(logs(job.record, PARTITIONS), job.name):
            time.sleep(0.005)
        ended = time.monotonic()
        spent = server.snapshot().since(before)
        cpu = _cpu(forks) - cpu
        others = machine_busy() - busy - (time.process_time() - own) - cpu - spent.cpu
        return {
            "rate": EVENTS / (ended - started),
            "worker_us": cpu / EVENTS * 1e6,
            "server_us": spent.cpu / EVENTS * 1e6,
            "other_load": max(0.0, others / (ended - opened)) if cpu else 0.0,
            "seconds to settle": settled,
            "seconds when one joins": _grow(forks, group, 1, count + 1),
        }


def _cpu(forks: Child) -> float:
    """Seconds of CPU that all members together have used; 0 where the system does not tell."""
    try:
        members = Path(f"/proc/{forks.pid}/task/{forks.pid}/children").read_text().split()
    except OSError:
        return 0.0
    return sum(cpu_seconds(int(pid)) for pid in members)


def _grow(forks: Child, group: Watched, more: int, members: int) -> float:
    """Let so many more start; the seconds until all of them hold all partitions, evenly."""
    began = time.monotonic()

    def shared() -> bool:
        forks.check()
        return group.shared_by(members)

    forks.say(str(more))
    wait_until(shared)
    return time.monotonic() - began


def _idle(bench: Bench, counts: Sequence[int]) -> dict[int, float]:
    """Commands a second that idle groups send, each to a server of its own. All are watched at
    once: none of them minds the others."""
    with ThreadPoolExecutor(len(counts)) as pool:
        return dict(zip(counts, pool.map(partial(_idle_group, bench), counts), strict=True))


def _idle_group(bench: Bench, count: int) -> float:
    with Server() as server:
        job = Job(server.url, name=f"idle-{count}", partitions=PARTITIONS)
        group = Watched(server, job.record, PARTITIONS, job.name)
        with start(bench.new, FORKS, job) as forks:
            _grow(forks, group, count, count)
            # A group that has worked, in every partition, and has nothing left to do.
            preload(server, job.record, PARTITIONS, 2000)
            wait_until(lambda: not server.lag(logs(job.record, PARTITIONS), job.name))
            time.sleep(AFTERWARDS)
            monitor = Monitor(server.url)
            time.sleep(WATCHED)
            return monitor.close() / WATCHED
