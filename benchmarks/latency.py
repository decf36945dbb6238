"""Milliseconds from send to handler and to committed, at a steady rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.children import Tree, start
from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, quantile, ratios
from benchmarks.throughput import holding_worker

RATE = 200
NAMES = ("latency",)
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
REFERENCE = "bare XREAD"
#: Of each event: to the handler, and to committed, in ms.
Latencies = list[tuple[float, float]]


def measure(bench: Bench) -> Iterator[Row]:
    """Rows for handler and commit, each at three percentiles of the events."""
    if not bench.wants("latency"):
        return
    seconds = 5 if bench.quick else 20
    ours, theirs = _run(bench, bench.new, seconds)
    old = bench.of_old("latency", lambda tree: _run(bench, tree, seconds))
    for stage, what in ((0, "handler"), (1, "committed")):
        for share in SHARES:
            new = _percentiles(ours, stage, share)
            bare = _percentiles(theirs, stage, share)
            row = Row(
                f"latency-{what}-{share}",
                f"send to {what}, {share} at {RATE}/s",
                "ms",
                new,
                REFERENCE,
                ratios(new, bare),
                more_is_better=False,
                details={"bare ms": sorted(bare)[len(bare) // 2]},
            )
            if old:
                row.old = _percentiles(old[0], stage, share)
                row.old_ratios = ratios(row.old, _percentiles(old[1], stage, share))
            yield row


def _run(bench: Bench, tree: Tree, seconds: int) -> tuple[Latencies, Latencies]:
    """Both readers run the whole time; the sender sends to each for a second in turn."""
    bench.settle()
    with Server() as server, ExitStack() as stack:
        job = Job(server.url, "latency", "timed", bench.fresh_name())
        reader = stack.enter_context(holding_worker(server, tree, "app_latency", job))
        arguments = ["-m", "benchmarks.paced", str(RATE), str(seconds)]
        sender = stack.enter_context(start(tree, arguments, job))
        sender.hear("ready")
        reader.say("report")
        job = replace(job, collector=reader.hear("collector"))
        bare = stack.enter_context(start(tree, ["-m", "benchmarks.blocking"], job))
        bare.hear("ready")
        time.sleep(0.5)
        sender.say("go")
        sender.hear("sent", seconds * 2 + 60)
        found = []
        for child in (reader, bare):
            child.say("report")
            found.append([(each[0] * 1000, each[1] * 1000) for each in child.hear("latencies")])
        return found[0], found[1]


def _percentiles(latencies: Latencies, stage: int, share: str) -> list[float]:
    """That percentile of each fifth of the run; of all of it where a fifth has too few events."""
    values = [each[stage] for each in latencies]
    parts = 1 if share == "p99.9" else 5
    length = len(values) // parts
    return [
        quantile(values[part * length : (part + 1) * length], SHARES[share])
        for part in range(parts)
    ]
