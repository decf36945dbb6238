"""Server time of each Lua script at its largest input, and of `sync` in a large group."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks.harness import Bench, Child, Row, Tree
from benchmarks.job import Job
from benchmarks.scripts import CASES
from benchmarks.server import Server

REFERENCE = "bare XADD"
TITLES = {
    "append-one": "append, one entry",
    "append": "append, 1,000 entries into a full partition",
    "commit": "commit",
    "emit": "emit, 200 entries into a full stream",
    "claim": "claim, 100 processors",
    "register": "register, 100 processors",
    "attempt": "attempt",
    "agree": "agree",
    "describe": "describe, 100 processors",
    "pause": "pause",
    "resume": "resume",
    "remove": "remove, 100 processors",
    "seek": "seek, 1,000 entries on each side",
    "lead": "lead",
    "tick": "tick, 1,000 tasks",
    "regrant": "regrant, 1,000 partitions",
    "roster": "roster, 10,000 partitions, 1,000 members",
    "sync-steady": "sync, heartbeat, 1,000 partitions, 100 members",
    "sync-rebalance": "sync, one joins or leaves, the same group",
    "sync-alone": "sync, heartbeat, 10,000 partitions held by one",
    "sync-largest": "sync, one leaves or joins, 10,000 and 1,000",
}
NAMES = tuple(TITLES)


def measure(bench: Bench) -> Iterator[Row]:
    """A row for each script. Ratios are to one bare XADD of a small event in the same run."""
    names = [name for name in NAMES if bench.wants("scripts", name)]
    if not names:
        return
    found = {tree.name: _run(tree, names, 20 if bench.quick else 50) for tree in bench.trees}
    new = found[bench.new.name]
    xadd = statistics.median(new["xadd"])
    yield Row("raw-xadd", REFERENCE, "µs", new["xadd"], more_is_better=False)
    for name in names:
        row = Row(
            name,
            TITLES[name],
            "µs",
            new[name],
            REFERENCE,
            [spent / xadd for spent in new[name]],
            more_is_better=False,
        )
        if bench.old:
            row.old = found[bench.old.name][name]
        yield row


def _run(tree: Tree, names: list[str], repeats: int) -> dict[str, list[float]]:
    wanted = ["xadd", *names]
    assert set(wanted) <= set(CASES)
    arguments = ["-m", "benchmarks.scripts", str(repeats), *wanted]
    with Server() as server, Child(tree, arguments, Job(server.url)) as child:
        return {name: child.hear("spent") for name in wanted}
