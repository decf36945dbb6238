"""How soon a partition with a large table is taken over after a crash: nothing is restored, so its
first event does not wait for the table."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.children import Tree, wait_until
from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.moves import SESSION, Workers
from benchmarks.records import prefixes
from benchmarks.rows import Row
from benchmarks.throughput import preload
from runnel import keys

PARTITIONS = 2
#: Keys in the table of each partition.
TABLE_KEYS = 1_000_000
#: Fields of one HSET while they are made.
AT_ONCE = 1000


def takeover_row(bench: Bench) -> Row:
    """The seconds from the claim until the first event, in each take-over."""
    title = f"first event after a claim, {TABLE_KEYS:,} keys"
    row = Row("takeover-table", title, "s", _takeovers(bench, bench.new), more_is_better=False)
    row.old = bench.of_old(row.name, lambda tree: _takeovers(bench, tree)) or []
    row.details = {"worst": max(row.values)}
    return row


def _takeovers(bench: Bench, tree: Tree) -> list[float]:
    kills = 2 if bench.quick else 5
    with Server() as server, ExitStack() as stack:
        preload(server, "order", PARTITIONS, (kills + 2) * PARTITIONS * 300)
        job = Job(server.url, "state", name=bench.fresh_name(), partitions=PARTITIONS, hold=0.02)
        _fill_tables(server, job)
        workers = Workers(stack, tree, server, job)
        environment = {"RUNNEL_SESSION_TIMEOUT": str(SESSION)}
        workers.prepare("survivor", **environment).say("join")
        workers.settle(1)
        found = []
        for number in range(kills):
            name = f"victim-{number}"
            victim = workers.prepare(name, **environment)
            victim.say("join")
            workers.settle(2)
            time.sleep(0.1)
            (lost,) = (p for p, owner in workers.group.owners().items() if owner == name)
            workers.moments()
            before = _epoch(server, job, lost)
            victim.kill()
            del workers.members[name]
            claimed = _next_claim(server, job, lost, since=before)
            found.append(_first_event(workers, lost) - claimed)
        return found


def _fill_tables(server: Server, job: Job) -> None:
    """Make the table of each partition, without Runnel: in a tenth of the time."""
    for prefix in prefixes(job.record, job.partitions):
        pipeline = server.redis.pipeline(transaction=False)
        for first in range(0, TABLE_KEYS, AT_ONCE):
            values = dict.fromkeys(range(first, first + AT_ONCE), 1)
            pipeline.hset(keys.table(prefix, "totals"), mapping=values)
        pipeline.execute()


def _epoch(server: Server, job: Job, partition: int) -> int:
    """The epoch of the lease: the server's time in ms when it was claimed."""
    state = keys.state(prefixes(job.record, job.partitions)[partition], job.name)
    epoch: bytes = server.redis.hget(state, "epoch")
    return int(epoch)


def _next_claim(server: Server, job: Job, partition: int, since: int) -> float:
    """Wait for the claim after the one with the epoch `since`. Returns when it was made, on the
    system's monotonic clock."""
    wait_until(lambda: _epoch(server, job, partition) != since)
    return _epoch(server, job, partition) / 1000 - (time.time() - time.monotonic())


def _first_event(workers: Workers, partition: int) -> float:
    """When the survivor began the first event of this partition."""
    began: list[float] = []

    def seen() -> bool:
        workers.members["survivor"].say("report")
        moments = workers.reported("survivor")
        began.extend(each.began for each in moments if each.partition == partition)
        return bool(began)

    wait_until(seen, step=0.05)
    return min(began)
