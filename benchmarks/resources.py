"""What Runnel costs the server: calls while nothing happens, and memory for each event."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import urlsplit

import msgpack

from benchmarks.children import Tree, start, wait_until
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.records import order_values, stream_name
from benchmarks.rows import Row, Sample
from benchmarks.server import Server
from benchmarks.throughput import preload
from runnel import keys

NAMES = ("idle", "memory")
PARTITIONS = 16
#: Seconds for which an idle worker is watched: six of its reads, the last of which looks at every
#: partition, and nine heartbeats: all that it does by itself.
WATCHED = 30.0


def begin(bench: Bench) -> None:
    """Start an idle worker, if it is to be watched, and go on once it has started. It is told with
    the other rows: meanwhile it disturbs nobody, as it does next to nothing."""
    if bench.wants("resources", "idle"):
        started = threading.Event()
        bench.idle = ThreadPoolExecutor(1).submit(_idle, bench, started)
        started.wait()


def measure(bench: Bench) -> Iterator[Row]:
    """Both rows."""
    if bench.wants("resources", "memory"):
        yield _memory(bench)
    if bench.idle is not None:
        yield bench.idle.result()


def _idle(bench: Bench, started: threading.Event) -> Row:
    try:
        runs = {
            f"idle@{tree.name}": partial(_idle_run, bench, tree, started) for tree in bench.trees
        }
        samples = bench.interleaved(runs, 1)
    finally:
        started.set()
    title = f"idle worker, {PARTITIONS} partitions: calls sent"
    return bench.row(Row("idle", title, "calls/s", [], more_is_better=False), samples, "sent")


def _idle_run(bench: Bench, tree: Tree, started: threading.Event) -> Sample:
    """What the worker sends counts; what its scripts call in turn is told as a detail."""
    with Server() as server:
        job = Job(server.url, "latency", "timed", bench.fresh_name(), PARTITIONS)
        worker = ["-m", "runnel", "worker", "benchmarks.app_latency:app", "--log-level", "warning"]
        name = stream_name("timed", PARTITIONS)
        prefixes = [keys.partition("bench", name, n, name) for n in range(PARTITIONS)]
        states = [keys.state(prefix, job.name) for prefix in prefixes]
        with start(tree, worker, job) as child:

            def claimed() -> bool:
                child.check()
                return server.all_claimed(states)

            wait_until(claimed)
            # A worker that has worked, in every partition, and has nothing left to do.
            preload(server, "timed", PARTITIONS, 1000)
            wait_until(lambda: not server.lag([keys.log(each) for each in prefixes], job.name))
            started.set()
            time.sleep(6)  # Its last read, which looks at every partition, is over.
            monitor = Monitor(server.url)
            before = server.snapshot()
            time.sleep(WATCHED)
            spent = server.snapshot().since(before)
            sent = monitor.close()
    return {
        "sent": sent / WATCHED,
        "with what scripts call": sum(spent.calls.values()) / WATCHED,
        "server ms/s": spent.cpu / WATCHED * 1000,
    }


class Monitor:
    """Counts what clients send: neither what scripts call nor the harness's own."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"

    def close(self) -> int:
        """End, and return the number of commands seen so far."""
        # Written behind all that was seen until now.
        self._socket.sendall(b"PING monitored\r\n")
        seen = b""
        while b"monitored" not in seen:
            seen += self._socket.recv(1 << 20)
        self._socket.close()
        lines = [line.lower() for line in seen.splitlines()[:-1]]
        return sum(1 for line in lines if b" lua]" not in line and b'"info"' not in line)


def _memory(bench: Bench) -> Row:
    events = 50_000 if bench.quick else 100_000
    runs = {"bare": partial(_bare_memory, events), "memory@new": partial(_runnel_memory, events)}
    samples = bench.interleaved(runs, 1)
    row = Row(
        "memory",
        "memory for each event, 16 partitions",
        "bytes",
        [],
        "bare XADD",
        more_is_better=False,
    )
    return bench.row(row, samples, "bytes", samples["bare"])


def _bare_memory(events: int) -> Sample:
    with Server() as server:
        before = server.memory()
        pipeline = server.redis.pipeline(transaction=False)
        for number in range(events):
            values = order_values(number)
            created = values["created_at"].isoformat()
            payload = msgpack.packb({**values, "created_at": created})
            pipeline.xadd(f"log:{number % PARTITIONS}", {"msgpack": payload})
            if number % 1000 == 999:
                pipeline.execute()
        pipeline.execute()
        return {"bytes": (server.memory() - before) / events}


def _runnel_memory(events: int) -> Sample:
    with Server() as server:
        before = server.memory()
        preload(server, "order", PARTITIONS, events)
        return {"bytes": (server.memory() - before) / events}
