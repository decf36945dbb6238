"""Records sent per second, one awaited at a time and a thousand in a call, against bare XADD."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.children import Tree, start
from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, Sample

#: Row -> way, titles, records in a turn, and turns for each round elsewhere. Turns are many and
#: short, so that the state of the machine affects both ways alike.
WAYS = {
    "send": ("one", "send, one awaited at a time", "awaited XADD", 400, 15),
    "send-later": ("later", "send with a delay, awaited", "the same without delay", 400, 15),
    "send-bulk": ("bulk", "send, 1,000 in a call", "pipelined XADD", 20_000, 3),
}
NAMES = tuple(WAYS)


def measure(bench: Bench) -> Iterator[Row]:
    """Both ways of sending. Runnel and the bare commands take turns in one process."""
    for name in NAMES:
        if bench.wants("sending", name):
            yield from _compare(bench, name)


def _compare(bench: Bench, name: str) -> Iterator[Row]:
    _, title, bare, _, _ = WAYS[name]
    samples = _samples(bench, name, bench.new)
    yield bench.row(Row(f"raw-{name}", bare, "records/s", []), samples, "rate")
    samples |= bench.of_old(name, partial(_samples, bench, name)) or {}
    yield bench.row(Row(name, title, "records/s", [], bare), samples, "rate", f"raw-{name}")


def _samples(bench: Bench, name: str, tree: Tree) -> dict[str, list[Sample]]:
    way, _, _, count, turns = WAYS[name]
    bench.settle()
    arguments = ["-m", "benchmarks.sender", way, str(count)]
    with Server() as server, start(tree, arguments, Job(server.url)) as child:
        rounds = [child.ask("round") for _ in range(bench.rounds * turns)]
    return {
        f"{name}@{tree.name}": [each["runnel"] for each in rounds],
        f"raw-{name}@{tree.name}": [each["by_hand"] for each in rounds],
    }
