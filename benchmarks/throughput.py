"""Events per second of one worker with a backlog, in each shape of handler and each encoding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.children import Child, Tree, start, start_worker, wait_until
from benchmarks.deployment import Deployment, Meter, Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.records import KINDS, declare, logs, prefixes
from benchmarks.rows import Row, Sample
from runnel import App, keys


@dataclass(frozen=True)
class Shape:
    """A row: the form of the handler, the kind of record, the form of the raw loop beside it; or,
    with `beside`, the row to compare it with instead.

    Those without a target are left out of a quick run.
    """

    name: str
    title: str
    form: str
    record: str
    raw_form: str
    events: int
    target: bool = False
    beside: str = ""


#: Rows with the same raw form and record share the runs of the raw loop.
SHAPES = [
    Shape("one", "one at a time, typed", "one", "order", "one", 120_000, target=True),
    Shape("counted", "one at a time, metrics on", "counted", "order", "one", 120_000, False, "one"),
    Shape("traced", "one at a time, traced", "traced", "order", "one", 120_000, False, "one"),
    Shape(
        "traced-each", "the same, each event", "traced-each", "order", "one", 24_000, False, "one"
    ),
    Shape("on-async", "@app.on, async def", "on-async", "order", "one", 60_000),
    Shape("plain", "@app.on, plain def", "plain", "order", "one", 60_000, True, "on-async"),
    Shape("take", "take(100), typed", "take", "order", "take", 120_000, target=True),
    Shape("each", 'commit="each", typed', "each", "order", "each", 24_000, target=True),
    Shape("events", "events, not decoded", "events", "order", "events", 120_000),
    Shape("json", "one at a time, JSON", "one", "json", "one", 100_000),
    Shape("lz4", "one at a time, 1 kB pages, lz4", "one", "lz4", "one", 60_000),
    Shape("primitive", "one at a time, primitive record", "one", "primitive", "one", 100_000),
    Shape("struct", "one at a time, msgspec Struct", "one", "struct", "one", 100_000),
]
NAMES = tuple(shape.name for shape in SHAPES)
RAW = "raw loop"


def measure(bench: Bench) -> Iterator[Row]:
    """All rows, group by group."""
    wanted = {
        each.name for each in SHAPES if bench.wants("throughput", each.name, quick=each.target)
    }
    wanted |= {each.beside for each in SHAPES if each.name in wanted}
    shapes = [shape for shape in SHAPES if shape.name in wanted]
    if not shapes:
        return
    groups: dict[tuple[str, str], list[Shape]] = {}
    for shape in shapes:
        groups.setdefault((shape.raw_form, shape.record), []).append(shape)
    with Server() as server:
        for (raw_form, record), group in groups.items():
            # Rows of one group share a stream; the slower ones handle only the beginning of it.
            preload(server, record, 16, max(shape.events for shape in group))
            yield from _compare(bench, server, raw_form, record, group)


def _compare(
    bench: Bench, server: Server, raw_form: str, record: str, group: list[Shape]
) -> Iterator[Row]:
    runs = {
        f"{shape.name}@{tree.name}": partial(
            run_runnel,
            bench,
            server,
            tree,
            Job(server.url, shape.form, record, events=shape.events),
        )
        for tree in bench.trees
        for shape in group
    }
    events = max(shape.events for shape in group)
    raw = f"raw-{raw_form}-{record}"
    job = Job(server.url, raw_form, record, events=events)
    runs[f"{raw}@new"] = partial(run_raw, bench, server, job)
    samples = bench.interleaved(runs)
    row = Row(raw, f"{RAW}: {raw_form}, {record}", "events/s", [])
    yield bench.row(row, samples, "rate")
    titles = {each.name: each.title for each in group}
    for shape in group:
        beside = titles.get(shape.beside, RAW)
        row = Row(shape.name, shape.title, "events/s", [], beside)
        yield bench.row(row, samples, "rate", shape.beside or raw)


def preload(server: Deployment, record: str, partitions: int, events: int) -> None:
    """Send events with Runnel, for Runnel and the raw loop to read."""

    async def send() -> None:
        app = App("bench", redis_url=server.url)
        stream = declare(app, record, partitions)
        make = KINDS[record].make
        for first in range(0, events, 1000):
            await stream.send(*map(make, range(first, min(first + 1000, events))))
        await app.close()

    asyncio.run(send())


#: Adds entries to a log, so many in all, by copying those that it has.
_COPY = """
local there = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 100)
for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', unpack(there[i % #there + 1][2])) end
"""


def fill(server: Server, record: str, partitions: int, events: int) -> None:
    """Make a long backlog in a tenth of the time: send some events to each partition with Runnel,
    and let the server copy these."""
    preload(server, record, partitions, partitions * 20)
    pipeline = server.redis.pipeline(transaction=False)
    for number, log in enumerate(logs(record, partitions)):
        share = events // partitions + (number < events % partitions)
        pipeline.eval(_COPY, 1, log, str(share - server.redis.xlen(log)))
    pipeline.execute()


@contextmanager
def holding_worker(server: Deployment, tree: Tree, app: str, job: Job) -> Iterator[Child]:
    """A worker, once it holds all partitions; it ends with the context."""
    states = [keys.state(prefix, job.name) for prefix in prefixes(job.record, job.partitions)]
    with start_worker(tree, app, job) as child:
        step = 0.01 if job.partitions < 100 else 0.1
        wait_until(lambda: server.all_claimed(states), [child], step)
        yield child


def run_runnel(
    bench: Bench, server: Deployment, tree: Tree, job: Job, app: str = "app_backlog"
) -> Sample:
    """A worker over the stream from its beginning."""
    job = replace(job, name=bench.fresh_name())
    with holding_worker(server, tree, app, job) as child:
        sample = _run(server, job, child)
        bench.collector = child.hear("collector")
        return sample


def run_raw(bench: Bench, server: Server, job: Job, loop: str = "raw") -> Sample:
    """The raw loop over the same stream, or another loop."""
    job = replace(job, name=bench.fresh_name(), collector=bench.collector)
    with start(bench.new, ["-m", f"benchmarks.{loop}"], job) as child:
        lease = f"{logs(job.record, job.partitions)[-1]}:{job.name}:lease"
        wait_until(lambda: server.redis.hexists(lease, "token"), [child])
        return _run(server, job, child)


def _run(server: Deployment, job: Job, child: Child) -> Sample:
    """From the start of the handlers until the last event is committed."""
    time.sleep(0.15)  # Both begin with full buffers.
    meter = Meter(server, [child.pid])
    child.say("go")
    started = child.hear("started")
    handled = child.hear("handled")
    workers = meter.workers()
    total = logs(job.record, job.partitions)
    # A row that handles only the beginning of the stream ends when that is handled.
    if not job.warmup and server.lag(total, job.name) < job.events // 10:
        while server.lag(total, job.name):
            child.check()
        handled = time.monotonic()
    rate = (job.events - job.warmup) / (handled - started)
    return {"rate": rate, **meter.sample(job.events, workers)}
