"""Server time of each Lua script at its largest input, and of `sync` in groups of several sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.children import ChildFailed, Tree, start
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row
from benchmarks.scripts import CASES
from benchmarks.server import Server
from runnel.protocol.scripts import sources

REFERENCE = "bare XADD"


@dataclass(frozen=True)
class Case:
    """A script at some input. Its `budget` is in bare XADDs of a small event: about twice what it
    took when it was set, so that a script that got slower is seen on any machine."""

    title: str
    budget: float


SCRIPTS = {
    "append-one": Case("append, one entry", 120),
    "append": Case("append, 1,000 entries into a full partition", 20_000),
    "commit": Case("commit", 150),
    "emit": Case("emit, 200 entries into a full stream", 4_000),
    "claim": Case("claim, 100 processors", 600),
    "register": Case("register, 100 processors", 500),
    "attempt": Case("attempt", 80),
    "declare": Case("declare", 60),
    "describe": Case("describe, 100 processors", 900),
    "pause": Case("pause", 40),
    "resume": Case("resume", 50),
    "remove": Case("remove, 100 processors", 300),
    "delete": Case("delete, 100 processors, 1,000 entries", 1_000),
    "seek": Case("seek, 1,000 entries on each side", 5_000),
    "elect": Case("elect", 80),
    "tick": Case("tick, 1,000 tasks", 60),
    "check_acl": Case("rights, 1,000 commands", 5_000),
    "revoke": Case("regrant, 1,000 partitions", 15_000),
    "describe_group": Case("group_description, 10,000 partitions, 1,000 members", 500_000),
    "sync-steady-1": Case("sync, heartbeat, 1,000 partitions, 1 member", 10_000),
    "sync-steady-10": Case("sync, heartbeat, 1,000 partitions, 10 members", 1_000),
    "sync-steady": Case("sync, heartbeat, 1,000 partitions, 100 members", 400),
    "sync-steady-1000": Case("sync, heartbeat, 10,000 partitions, 1,000 members", 400),
    "sync-rebalance-10": Case("sync, one joins or leaves, 1,000 and 10", 8_000),
    "sync-rebalance": Case("sync, one joins or leaves, 1,000 and 100", 8_000),
    "sync-alone": Case("sync, heartbeat, 10,000 partitions held by one", 250_000),
    "sync-largest": Case("sync, one leaves or joins, 10,000 and 1,000", 200_000),
}
NAMES = ("budgets", *SCRIPTS)


def measure(bench: Bench) -> Iterator[Row]:
    """A row for each script, in microseconds and bare XADDs of the same run; then one that says how
    many are within their budgets."""
    names = [name for name in SCRIPTS if bench.wants("scripts", "budgets", name)]
    if not names:
        return
    found = {tree.name: _run(bench, tree, names) for tree in bench.trees}
    new, old = found["new"], found.get("old", {})
    yield Row("raw-xadd", REFERENCE, "µs", new["xadd"], more_is_better=False)
    within = []
    for name in names:
        row = _row(name, new)
        row.old = old.get(name, [])
        if row.old:
            row.old_ratios = _row(name, old).ratios
        within.append(row.ratio is not None and row.ratio <= SCRIPTS[name].budget)
        row.details["budget"] = SCRIPTS[name].budget
        yield row
    late = [name for name, good in zip(names, within, strict=True) if not good]
    late += [f"{name}, which has none" for name in sorted(set(sources()) - _measured())]
    yield Row(
        "budgets",
        "scripts within their budgets",
        "scripts",
        [float(sum(within))],
        details={"share": sum(within) / (sum(within) + len(late))},
        note=f"of {len(names)}" + (f"; beyond: {', '.join(late)}" if late else ""),
    )


def _measured() -> set[str]:
    """The scripts that have a budget."""
    return {name.partition("-")[0] for name in SCRIPTS}


def _row(name: str, found: dict[str, list[float]]) -> Row:
    xadd = min(found["xadd"])
    spent = found[name]
    each = [value / xadd for value in spent]
    return Row(name, SCRIPTS[name].title, "µs", spent, REFERENCE, each, more_is_better=False)


def _run(bench: Bench, tree: Tree, names: list[str]) -> dict[str, list[float]]:
    """Server time of each call. The other tree may not know some: those are left out."""
    wanted = ["xadd", *names]
    assert set(wanted) <= set(CASES)
    repeats = 20 if bench.quick else 50
    found = {}
    with Server() as server:
        if tree is bench.new:
            with start(tree, _arguments(repeats, wanted), Job(server.url)) as child:
                return {name: child.hear("spent") for name in wanted}
        for name in wanted:
            try:
                with start(tree, _arguments(repeats, [name]), Job(server.url)) as child:
                    found[name] = child.hear("spent")
            except ChildFailed as error:
                bench.failed[f"{name}@old"] = str(error)
        return found


def _arguments(repeats: int, names: list[str]) -> list[str]:
    return ["-m", "benchmarks.scripts", str(repeats), *names]
