"""Records sent per second, one awaited at a time and a thousand in a call, against bare XADD."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.harness import Bench, Child, Row, Sample, Tree, column, medians, ratios
from benchmarks.job import Job
from benchmarks.server import Server

WAYS = {
    "send": ("one", "send, one awaited at a time", "awaited XADD", 8_000),
    "send-bulk": ("bulk", "send, 1,000 in a call", "pipelined XADD", 60_000),
}
NAMES = tuple(WAYS)


def measure(bench: Bench) -> Iterator[Row]:
    """Both ways of sending. Runnel and the bare commands take turns in one process."""
    for name, (way, title, reference, count) in WAYS.items():
        if not bench.wants("sending", name):
            continue
        with Server() as server:
            runs = {tree.name: _rounds(bench, server, tree, way, count) for tree in bench.trees}
        by_hand = [each["by_hand"] for each in runs[bench.new.name]]
        runnel = [each["runnel"] for each in runs[bench.new.name]]
        yield Row(
            f"raw-{name}",
            reference,
            "records/s",
            column(by_hand, "rate"),
            details=medians(by_hand, "rate"),
        )
        row = Row(
            name,
            title,
            "records/s",
            column(runnel, "rate"),
            reference,
            ratios(column(runnel, "rate"), column(by_hand, "rate")),
            details=medians(runnel, "rate"),
        )
        if bench.old:
            old: list[dict[str, Sample]] = runs[bench.old.name]
            row.old = [each["runnel"]["rate"] for each in old]
            row.old_ratios = [each["runnel"]["rate"] / each["by_hand"]["rate"] for each in old]
        yield row
        if bench.profile:
            with Server() as server:
                found = _rounds(bench, server, bench.new, way, count * 3, 1, profile=True)
            bench.profiles[name] = found[0]["profile"]


def _rounds(
    bench: Bench,
    server: Server,
    tree: Tree,
    way: str,
    count: int,
    rounds: int = 0,
    profile: bool = False,
) -> list[dict[str, Any]]:
    rounds = rounds or bench.rounds
    bench.settle()
    arguments = ["-m", "benchmarks.sender", way, str(count), str(rounds)]
    with Child(tree, arguments, Job(server.url, profile=profile)) as child:
        return [child.hear("round") for _ in range(rounds)]
