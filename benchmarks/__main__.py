"""The command line of `scripts/bench`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import (
    cluster,
    effects,
    execs,
    inspecting,
    latency,
    members,
    moves,
    peers,
    report,
    resources,
    scaling,
    scripts,
    sending,
    targets,
    throughput,
    waiting,
)
from benchmarks.children import ROOT, Tree
from benchmarks.deployment import machine_busy
from benchmarks.harness import Bench
from benchmarks.rows import Row
from benchmarks.trees import NoSuchRevision, revision, short
from runnel.embedded.binary import find_binary

#: Group of rows -> the function that measures it, and the names of its rows.
MEASURES: dict[str, tuple[Callable[[Bench], Iterator[Row]], tuple[str, ...]]] = {
    "throughput": (throughput.measure, throughput.NAMES),
    "waiting": (waiting.measure, waiting.NAMES),
    "sidecar": (execs.measure, execs.NAMES),
    "effects": (effects.measure, effects.NAMES),
    "scaling": (scaling.measure, scaling.NAMES),
    "members": (members.measure, members.NAMES),
    "cluster": (cluster.measure, cluster.NAMES),
    "sending": (sending.measure, sending.NAMES),
    "latency": (latency.measure, latency.NAMES),
    "moves": (moves.measure, moves.NAMES),
    "scripts": (scripts.measure, scripts.NAMES),
    "inspecting": (inspecting.measure, inspecting.NAMES),
    "resources": (resources.measure, resources.NAMES),
    "peers": (peers.measure, peers.NAMES),
}


def main() -> None:
    """Measure, print the results, and write them to a file."""
    options = _options()
    if options.table:
        print(report.markdown(options.table))
        return
    # So that the servers and workers that this process has started end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        old: Tree | None = None
        if options.compare and not Path(options.compare).is_file():
            try:
                old = stack.enter_context(revision(options.compare))
            except NoSuchRevision as error:
                sys.exit(f"--compare: there is no such file, and {error}")
        bench = Bench(
            new=Tree("new"),
            old=old,
            quick=options.quick,
            patient=options.patient,
            only=frozenset(options.only or ()),
            kills=options.kills,
            peers=options.peers,
        )
        _run(bench, options)


def _run(bench: Bench, options: argparse.Namespace) -> None:
    about = report.machine(find_binary())
    if bench.old:
        about["compared to"] = short(options.compare)
    print(report.heading(about), flush=True)
    began, busy, own = time.monotonic(), machine_busy(), sum(os.times()[:4])
    rows: list[Row] = []
    for group, (measure, _) in MEASURES.items():
        if group == "latency":  # From here on nothing needs all of the cores.
            resources.begin(bench)
        for number, row in enumerate(measure(bench)):
            if not number:
                print(f"\n{group}", flush=True)
            rows.append(row)
            print("  " + report.line(row), flush=True)
    for name, versions in bench.versions.items():
        print(f"  {name}: {versions}")
    judged = targets.judge(rows)
    print(f"\ntargets\n{report.verdicts(judged)}")
    if bench.old:
        print("\n" + report.comparison(rows))
    elif options.compare:
        print("\n" + report.against(Path(options.compare), rows))
    for name, why in bench.failed.items():
        print(f"\nleft out: {name}: {why}")
    about["peers"] = bench.versions
    about["seconds"] = round(time.monotonic() - began)
    others = machine_busy() - busy - (sum(os.times()[:4]) - own)
    about["cores used by others"] = round(max(0.0, others / (time.monotonic() - began)), 2)
    report.save(options.json, about, rows, judged, bench.failed)
    others_used = f"other programs used {about['cores used by others']} cores on average"
    print(f"\n{about['seconds']} s; {others_used}; all results are in {options.json}")


def _options() -> argparse.Namespace:
    names = [f"{group} ({', '.join(rows)})" for group, (_, rows) in MEASURES.items()]
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure Runnel against a hand-written loop on a server of its own.",
        epilog=f"Measures: {'; '.join(names)}.",
    )
    parser.add_argument("--quick", action="store_true", help="a shorter run: under two minutes")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these measures or rows")
    parser.add_argument(
        "--compare",
        metavar="REVISION|FILE",
        help="measure another git revision beside this one, run by run; or compare the ratios of "
        "this run with those in the file of an earlier run",
    )
    parser.add_argument(
        "--peers",
        nargs="*",
        metavar="PEER",
        help="also measure other libraries, each in an environment of its own under .runnel/peers "
        f"(all, or some of {', '.join(peers.NAMES)})",
    )
    parser.add_argument(
        "--patient",
        action="store_true",
        help="on a shared machine: wait before each run until other programs are quiet",
    )
    parser.add_argument(
        "--kills", type=int, default=0, metavar="N", help="kill a worker N times (default 10)"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=ROOT / "benchmarks" / "results" / "latest.json",
        help="the file for the results",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="only print a file of results as Markdown",
    )
    options = parser.parse_args()
    known = {name for group, (_, rows) in MEASURES.items() for name in (group, *rows)}
    for name in options.only or ():
        if name not in known:
            parser.error(f"there is no measure {name!r}: {parser.epilog}")
    for name in options.peers or ():
        if name not in peers.NAMES:
            parser.error(f"there is no peer {name!r}: choose from {', '.join(peers.NAMES)}")
    return options


if __name__ == "__main__":
    main()
