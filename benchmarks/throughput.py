"""Events per second of one worker with a backlog, in each shape of handler and each encoding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.children import Child, Tree, start, wait_until
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.records import KINDS, declare, stream_name
from benchmarks.rows import Row, Sample, column, medians
from benchmarks.server import Place, Server, cpu_seconds, machine_busy
from runnel import App, keys


@dataclass(frozen=True)
class Shape:
    """A row: handler's form, kind of record, form of the raw loop to compare with.

    Those without a target are left out of a quick run.
    """

    name: str
    title: str
    form: str
    record: str
    raw_form: str
    events: int
    target: bool = False


#: Rows with the same raw form and record share the runs of the raw loop.
SHAPES = [
    Shape("one", "one at a time, typed", "one", "order", "one", 120_000, target=True),
    Shape("on-async", "@app.on, async def", "on-async", "order", "one", 60_000),
    Shape("on-sync", "@app.on, plain def in a thread", "on-sync", "order", "one", 10_000),
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
WORKER = ["-m", "runnel", "worker", "benchmarks.app_backlog:app", "--log-level", "warning"]


def measure(bench: Bench) -> Iterator[Row]:
    """All rows, group by group."""
    shapes = [
        shape for shape in SHAPES if bench.wants("throughput", shape.name, quick=shape.target)
    ]
    if not shapes:
        return
    groups: dict[tuple[str, str], list[Shape]] = {}
    for shape in shapes:
        groups.setdefault((shape.raw_form, shape.record), []).append(shape)
    with Server() as server:
        for (raw_form, record), group in groups.items():
            # Rows of one group run on one stream; the slower ones handle the head of it.
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
    runs[RAW] = partial(run_raw, bench, server, Job(server.url, raw_form, record, events=events))
    samples = bench.interleaved(runs)
    raw = samples[RAW]
    yield Row(
        f"raw-{raw_form}-{record}",
        f"{RAW}: {raw_form}, {record}",
        "events/s",
        column(raw, "rate"),
        details=medians(raw, "rate"),
    )
    for shape in group:
        yield bench.row(
            Row(shape.name, shape.title, "events/s", [], RAW),
            samples,
            "rate",
            reference=raw,
        )
        if bench.profile:
            profile(bench, server, shape)


def profile(bench: Bench, server: Server, shape: Shape) -> None:
    """One more run, with the sampler in the worker. Its rate is not reported."""
    job = Job(server.url, shape.form, shape.record, events=shape.events, profile=True)
    run_runnel(bench, server, bench.new, job, shape.name)


def preload(server: Place, record: str, partitions: int, events: int) -> None:
    """Send the events with Runnel itself, for Runnel and the raw loop to read."""

    async def send() -> None:
        app = App("bench", redis_url=server.url)
        stream = declare(app, record, partitions)
        make = KINDS[record].make
        for first in range(0, events, 1000):
            await stream.send(*map(make, range(first, min(first + 1000, events))))
        await app.close()

    asyncio.run(send())


#: Adds the entries that a log has to it again, so many in all.
_COPY = """
local there = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 100)
for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', unpack(there[i % #there + 1][2])) end
"""


def fill(server: Server, record: str, partitions: int, events: int) -> None:
    """A long backlog, in a tenth of the time: some events of each partition are sent with Runnel,
    and the server copies these."""
    preload(server, record, partitions, partitions * 20)
    pipeline = server.redis.pipeline(transaction=False)
    for number, log in enumerate(logs(record, partitions)):
        share = events // partitions + (number < events % partitions)
        pipeline.eval(_COPY, 1, log, str(share - server.redis.xlen(log)))
    pipeline.execute()


def logs(record: str, partitions: int) -> list[str]:
    """The keys of a stream's logs."""
    return [keys.log(prefix) for prefix in _prefixes(record, partitions)]


def _prefixes(record: str, partitions: int) -> list[str]:
    name = stream_name(record, partitions)
    return [keys.partition("bench", name, number, name) for number in range(partitions)]


def run_runnel(bench: Bench, server: Place, tree: Tree, job: Job, profiled: str = "") -> Sample:
    """A worker, started as users start it, over the stream from its beginning."""
    job = replace(job, name=bench.fresh_name())
    states = [keys.state(prefix, job.name) for prefix in _prefixes(job.record, job.partitions)]
    with start(tree, WORKER, job) as child:

        def ready() -> bool:
            child.check()
            return server.all_claimed(states)

        wait_until(ready, step=0.01 if job.partitions < 100 else 0.1)
        sample = _run(server, job, child)
        bench.collector = child.hear("collector")
        if profiled:
            bench.profiles[profiled] = child.hear("profile")
        return sample


def run_raw(bench: Bench, server: Server, job: Job) -> Sample:
    """The raw loop over the same stream."""
    job = replace(job, name=bench.fresh_name(), collector=bench.collector)
    with start(bench.new, ["-m", "benchmarks.raw"], job) as child:
        groups = [log.encode() for log in logs(job.record, job.partitions)]

        def ready() -> bool:
            child.check()
            return bool(server.redis.hexists(f"{groups[-1].decode()}:{job.name}:lease", "token"))

        wait_until(ready)
        return _run(server, job, child)


def _run(server: Place, job: Job, child: Child) -> Sample:
    """From the opening of the gate until the last event is committed."""
    time.sleep(0.15)  # What can be read ahead is: both begin with full buffers.
    busy, own, cpu = machine_busy(), time.process_time(), cpu_seconds(child.pid)
    before = server.snapshot()
    opened = time.monotonic()
    child.say("go")
    started = child.hear("started")
    handled = child.hear("handled")
    worker = cpu_seconds(child.pid) - cpu
    total = logs(job.record, job.partitions)
    # A row that handles the head of the stream only is over when that is handled.
    if not job.warmup and server.lag(total, job.name) < job.events // 10:
        while server.lag(total, job.name):
            child.check()
        handled = time.monotonic()
    spent = server.snapshot().since(before)
    others = machine_busy() - busy - (cpu_seconds(child.pid) - cpu) - spent.cpu
    others -= time.process_time() - own
    seconds = handled - started
    return {
        "rate": (job.events - job.warmup) / seconds,
        "calls": sum(spent.calls.values()) / job.events,
        "worker_us": worker / job.events * 1e6,
        "server_us": spent.cpu / job.events * 1e6,
        "other_load": max(0.0, others / (time.monotonic() - opened)),
    }
