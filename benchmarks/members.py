"""Consumer groups of one, ten and a hundred members: their throughput, how soon they share the
partitions, and the commands that they send while nothing happens.

A hundred processes take too long to start, so members are forked (see `forks`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks.children import Child, Tree, start, wait_until
from benchmarks.deployment import Meter, Server
from benchmarks.groups import WatchedGroup, pause
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.records import logs
from benchmarks.resources import Monitor
from benchmarks.rows import Row, Sample
from benchmarks.throughput import preload

COUNTS = (1, 10, 100)
NAMES = tuple(f"members-{count}" for count in COUNTS)
#: Enough that each of a hundred members, and one more, has at least one.
PARTITIONS = 128
EVENTS = 250_000
ROUNDS = 2
#: Seconds for which idle groups are watched: two reads and three heartbeats of a member.
WATCHED = 10.0
#: Seconds from the last event until members have verified the cursors of its partitions once more:
#: at the next heartbeat, and when a read that waits five seconds finds nothing.
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
    for count in counts:
        title = f"{count} forked member{'s' if count > 1 else ''}, {PARTITIONS} partitions"
        row = Row(f"members-{count}", title, "events/s", [], "1 member" if count > alone else "")
        beside = f"members-{alone}" if count > alone else ""
        row = bench.row(row, samples, "rate", beside)
        row.details["idle calls/s"] = idle[count]
        yield row


def _group(bench: Bench, server: Server, tree: Tree, count: int) -> Sample:
    """So many members share the partitions of a paused processor, which is then resumed. In the end
    one more joins them."""
    job = Job(server.url, name=bench.fresh_name(), partitions=PARTITIONS)
    group = WatchedGroup(server, job)
    asyncio.run(pause(job, True))
    with start(tree, FORKS, job) as forks:
        settled = _grow(forks, group, count, count)
        meter = Meter(server, _members(forks))
        asyncio.run(pause(job, False))
        started = forks.hear("started")
        while server.lag(logs(job.record, PARTITIONS), job.name):
            time.sleep(0.005)
        return {
            "rate": EVENTS / (time.monotonic() - started),
            **meter.sample(EVENTS),
            "seconds to settle": settled,
            "seconds when one joins": _grow(forks, group, 1, count + 1),
        }


def _members(forks: Child) -> list[int]:
    """The process ids of all members; none where the system does not report them."""
    try:
        members = Path(f"/proc/{forks.pid}/task/{forks.pid}/children").read_text().split()
    except OSError:
        return []
    return [int(pid) for pid in members]


def _grow(forks: Child, group: WatchedGroup, more: int, members: int) -> float:
    """Start so many more members; return the seconds until all share the partitions evenly."""
    began = time.monotonic()
    forks.say(str(more))
    wait_until(lambda: group.shared_by(members), [forks])
    return time.monotonic() - began


def _idle(bench: Bench, counts: Sequence[int]) -> dict[int, float]:
    """Commands a second that idle groups send, each to a server of its own. All are watched at
    once: they do not disturb each other."""
    with ThreadPoolExecutor(len(counts)) as pool:
        return dict(zip(counts, pool.map(partial(_idle_group, bench), counts), strict=True))


def _idle_group(bench: Bench, count: int) -> float:
    with Server() as server:
        job = Job(server.url, name=f"idle-{count}", partitions=PARTITIONS)
        group = WatchedGroup(server, job)
        with start(bench.new, FORKS, job) as forks:
            _grow(forks, group, count, count)
            # A group that has had events in every partition, and has nothing left to do.
            preload(server, job.record, PARTITIONS, 2000)
            wait_until(lambda: not server.lag(logs(job.record, PARTITIONS), job.name))
            time.sleep(AFTERWARDS)
            monitor = Monitor(server.url)
            time.sleep(WATCHED)
            return monitor.close() / WATCHED
