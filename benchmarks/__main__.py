"""The command line of `scripts/bench`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    latency,
    moves,
    report,
    resources,
    scaling,
    script_times,
    sending,
    targets,
    throughput,
)
from benchmarks.children import ROOT, Tree
from benchmarks.harness import Bench
from benchmarks.rows import Row
from runnel.server_program import find_binary

#: Group of rows -> the function that measures it, and the names of its rows.
MEASURES: dict[str, tuple[Callable[[Bench], Iterator[Row]], tuple[str, ...]]] = {
    "throughput": (throughput.measure, throughput.NAMES),
    "scaling": (scaling.measure, scaling.NAMES),
    "sending": (sending.measure, sending.NAMES),
    "latency": (latency.measure, latency.NAMES),
    "resources": (resources.measure, resources.NAMES),
    "moves": (moves.measure, moves.NAMES),
    "scripts": (script_times.measure, script_times.NAMES),
}


def main() -> None:
    """Measure what was asked for, print it, and write it to a file."""
    options = _options()
    bench = Bench(
        new=Tree("new"),
        old=None,
        quick=options.quick,
        profile=options.profile,
        patient=options.patient,
        only=frozenset(options.only or ()),
        kills=options.kills,
    )
    about = report.machine(find_binary())
    print(report.heading(about), flush=True)
    began, rows = time.monotonic(), []
    for group, (measure, names) in MEASURES.items():
        if bench.wants(group, *names):
            print(f"\n{group}", flush=True)
        for row in measure(bench):
            rows.append(row)
            print("  " + report.line(row), flush=True)
    judged = targets.judge(rows)
    print(f"\ntargets\n{report.verdicts(judged)}")
    if bench.profiles:
        print(report.profiles(bench))
    report.save(options.json, about, rows, judged)
    print(f"\n{time.monotonic() - began:.0f} s; everything is in {options.json}")


def _options() -> argparse.Namespace:
    names = [f"{group} ({', '.join(rows)})" for group, (_, rows) in MEASURES.items()]
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure Runnel against a hand-written loop on a server of its own.",
        epilog=f"Measures: {'; '.join(names)}.",
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under two minutes")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these measures or rows only")
    parser.add_argument(
        "--profile", action="store_true", help="also sample where the worker's CPU time goes"
    )
    parser.add_argument(
        "--patient",
        action="store_true",
        help="on a machine that others use: wait before each run until they are quiet",
    )
    parser.add_argument(
        "--kills", type=int, default=0, metavar="N", help="kill a worker so often (default 10)"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=ROOT / "benchmarks" / "results" / "latest.json",
        help="where the results go",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
