"""The server's time for each Lua script at its largest input, against the budget of the script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from benchmarks.children import Tree, start
from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row
from benchmarks.script_times import CASES
from runnel.protocol.scripts import sources

REFERENCE = "bare XADD"
NAMES = ("budgets", *CASES)


def measure(bench: Bench) -> Iterator[Row]:
    """A row for each script, in microseconds and bare XADDs of the same run; then the number of
    scripts that are within their budgets."""
    names = [name for name in CASES if bench.wants("scripts", "budgets", name)]
    if not names:
        return
    new = _run(bench, bench.new, ["xadd", *names])
    old: dict[str, list[float]] = {}
    for name in ["xadd", *names]:  # One by one: the other tree may not know some of them.
        old |= bench.of_old(name, partial(_run, bench, names=[name])) or {}
    yield Row("raw-xadd", REFERENCE, "µs", new["xadd"], more_is_better=False)
    late = []
    for name in names:
        row = _row(name, new)
        if name in old and "xadd" in old:
            row.old, row.old_ratios = old[name], _row(name, old).ratios
        row.details["budget"] = CASES[name].budget
        if row.ratio is None or row.ratio > CASES[name].budget:
            late.append(name)
        yield row
    within = len(names) - len(late)
    measured = {name.partition("-")[0] for name in CASES}
    late += [f"{name}, which has none" for name in sorted(set(sources()) - measured)]
    yield Row(
        "budgets",
        "scripts within their budgets",
        "scripts",
        [float(within)],
        details={"share": within / (within + len(late))},
        note=f"of {len(names)}" + (f"; beyond: {', '.join(late)}" if late else ""),
    )


def _row(name: str, found: dict[str, list[float]]) -> Row:
    xadd = min(found["xadd"])
    each = [value / xadd for value in found[name]]
    title = CASES[name].title
    return Row(name, title, "µs", found[name], REFERENCE, each, more_is_better=False)


def _run(bench: Bench, tree: Tree, names: Sequence[str]) -> dict[str, list[float]]:
    """The server's time for each call of each script."""
    arguments = ["-m", "benchmarks.script_times", "20" if bench.quick else "50", *names]
    with Server() as server, start(tree, arguments, Job(server.url)) as child:
        return {name: child.hear("spent") for name in names}
