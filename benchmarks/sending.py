"""Records sent per second, one awaited at a time and a thousand in a call, against bare XADD."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.children import ChildFailed, Tree, start
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, Sample, column, medians, ratios
from benchmarks.server import Server
from benchmarks.steps import TITLES

#: Row -> way, titles, records in a turn, and turns for each round elsewhere. Turns are many and
#: short, so that both ways meet the same moments of the machine.
WAYS = {
    "send": ("one", "send, one awaited at a time", "awaited XADD", 400, 15),
    "send-bulk": ("bulk", "send, 1,000 in a call", "pipelined XADD", 20_000, 3),
}
NAMES = tuple(WAYS)
STEP_ROUNDS = 40
STEPS = ["-m", "benchmarks.steps", "500", str(STEP_ROUNDS)]


def measure(bench: Bench) -> Iterator[Row]:
    """Both ways of sending. Runnel and the bare commands take turns in one process."""
    for name, (way, title, reference, count, turns) in WAYS.items():
        if bench.wants("sending", name):
            yield from _compare(bench, name, way, title, reference, count, turns)
        if bench.wants("sending", name) and bench.profile:
            with Server() as server:
                found = _rounds(bench, server, bench.new, way, count * 15, 1, profile=True)
            bench.profiles[name] = found[0]["profile"]
    if bench.wants("sending", "send") and bench.profile:
        yield from _steps(bench)


def _steps(bench: Bench) -> Iterator[Row]:
    """Where the time of a single send goes: rows that each do a little more."""
    with Server() as server, start(bench.new, STEPS, Job(server.url)) as child:
        rounds = [child.hear("steps") for _ in range(STEP_ROUNDS)]
    for name, title in TITLES.items():
        row = Row(f"step-{name}", title, "µs", column(rounds, name), more_is_better=False)
        row.reference, row.ratios = TITLES["by-hand"], ratios(row.values, column(rounds, "by-hand"))
        yield row


def _compare(
    bench: Bench, name: str, way: str, title: str, reference: str, count: int, turns: int
) -> Iterator[Row]:
    ours: dict[str, list[Sample]] = {}
    by_hand: dict[str, list[Sample]] = {}
    for tree in bench.trees:
        try:
            with Server() as server:
                rounds = _rounds(bench, server, tree, way, count, bench.rounds * turns)
        except ChildFailed as error:
            if tree is bench.new:
                raise
            bench.failed[f"{name}@old"] = str(error)
            continue
        ours[f"{name}@{tree.name}"] = [each["runnel"] for each in rounds]
        by_hand[tree.name] = [each["by_hand"] for each in rounds]
    yield Row(
        f"raw-{name}",
        reference,
        "records/s",
        column(by_hand["new"], "rate"),
        details=medians(by_hand["new"], "rate"),
    )
    row = Row(name, title, "records/s", [], reference)
    yield bench.row(row, ours, "rate", by_hand["new"], by_hand.get("old", ()))


def _rounds(
    bench: Bench,
    server: Server,
    tree: Tree,
    way: str,
    count: int,
    rounds: int,
    profile: bool = False,
) -> list[dict[str, Any]]:
    bench.settle()
    arguments = ["-m", "benchmarks.sender", way, str(count), str(rounds)]
    with start(tree, arguments, Job(server.url, profile=profile)) as child:
        return [child.hear("round") for _ in range(rounds)]
