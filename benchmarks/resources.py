"""What Runnel costs the server: commands while nothing happens, and memory for each event."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from urllib.parse import urlsplit

import msgpack

from benchmarks.children import Tree, wait_until
from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.records import logs, plain_order
from benchmarks.rows import Row, Sample
from benchmarks.throughput import holding_worker, preload

NAMES = ("idle", "memory")
PARTITIONS = 16
#: Seconds for which an idle worker is watched: six of its reads, the last of which verifies the
#: cursors of all partitions, and nine heartbeats: all that it does without events.
WATCHED = 30.0


def begin(bench: Bench) -> None:
    """Start an idle worker, if it is to be watched, and return once it has started. Its row is
    reported with the others: the worker does next to nothing, so it does not disturb them."""
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
    """The commands that the worker sends; those that its scripts call are a detail."""
    with Server() as server, ExitStack() as stack:
        job = Job(server.url, "latency", "timed", bench.fresh_name(), PARTITIONS)
        stack.enter_context(holding_worker(server, tree, "app_latency", job))
        # A worker that has had events in every partition, and has nothing left to do.
        preload(server, "timed", PARTITIONS, 1000)
        wait_until(lambda: not server.lag(logs("timed", PARTITIONS), job.name))
        started.set()
        time.sleep(6)  # Until its last read has ended, which verifies the cursors.
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
    """Counts the commands that clients send, without those of scripts and of the harness."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port))
        self._socket.sendall(b"MONITOR\r\n")
        assert self._socket.recv(5) == b"+OK\r\n"

    def close(self) -> int:
        """End, and return the number of commands until now."""
        # It appears in the stream behind all commands until now.
        self._socket.sendall(b"PING monitored\r\n")
        seen = b""
        while b"monitored" not in seen:
            seen += self._socket.recv(1 << 20)
        self._socket.close()
        lines = [line.lower() for line in seen.splitlines()[:-1]]
        return sum(1 for line in lines if b" lua]" not in line and b'"info"' not in line)


def _memory(bench: Bench) -> Row:
    events = 50_000 if bench.quick else 100_000
    runs = {
        "bare@new": partial(_bare_memory, events),
        "memory@new": partial(_runnel_memory, events),
    }
    row = Row("memory", f"memory for each event, {PARTITIONS} partitions", "bytes", [], "bare XADD")
    row.more_is_better = False
    return bench.row(row, bench.interleaved(runs, 1), "bytes", "bare")


def _bare_memory(events: int) -> Sample:
    with Server() as server:
        before = server.memory()
        pipeline = server.redis.pipeline(transaction=False)
        for number in range(events):
            payload = msgpack.packb(plain_order(number))
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
