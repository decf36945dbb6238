"""What `runnel inspect` costs: from its start to its end, with all that it asks the server."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.children import Tree
from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.rows import Row, Sample
from runnel import App, Record
from runnel.connection.connect import connect
from runnel.operations import admin
from runnel.operations.registry import announce_processor
from runnel.protocol.scripts import Scripts

COUNTS = (16, 1000)
NAMES = tuple(f"inspect-{count}" for count in COUNTS)
ROUNDS = 5


class Item(Record):
    """An event."""

    id: int


def measure(bench: Bench) -> Iterator[Row]:
    """A row for each number of partitions."""
    for count in COUNTS:
        name = f"inspect-{count}"
        if not bench.wants("inspecting", name):
            continue
        with Server() as server:
            asyncio.run(_prepare(server.url, count))
            runs = {f"{name}@{tree.name}": partial(_look, server, tree) for tree in bench.trees}
            samples = bench.interleaved(runs, ROUNDS)
        title = f"inspect of {count} partitions, from start to end"
        yield bench.row(Row(name, title, "ms", [], more_is_better=False), samples, "ms")


async def _prepare(url: str, count: int) -> None:
    """A stream with some events, and a processor that nobody runs."""
    app = App("inspected", redis_url=url)
    stream = app.stream("items", record=Item, partition_by="id", partition_count=count)

    @app.on(stream)
    async def work(item: Item) -> None: ...

    async with connect(url) as client:
        await admin.add(Scripts(client), app.processors["work"])
        await announce_processor(Scripts(client), app.processors["work"])
    await stream.send(*(Item(id=number) for number in range(3 * count)))
    await app.close()


def _look(server: Server, tree: Tree) -> Sample:
    """One command, as a shell runs it."""
    environment = {**os.environ, "RUNNEL_REDIS_URL": server.url, "PYTHONPATH": str(tree.path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "runnel", "inspect", "--json"]
    before, began = server.snapshot(), time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=tree.path, env=environment, capture_output=True, check=True)
    ms = (time.perf_counter() - began) * 1000
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    spent = server.snapshot().since(before)
    assert json.loads(done.stdout)["processors"]
    return {
        "ms": ms,
        "client ms of CPU": cpu * 1000,
        "script calls": float(spent.calls.get("evalsha", 0)),
        "server ms": spent.cpu * 1000,
    }
