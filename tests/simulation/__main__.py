"""``scripts/simulate``: runs seeds, replays and shrinks one, counts the planted bugs found."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import fields

from tests.simulation.bugs import BUGS, BY_NAME
from tests.simulation.planted import Planted

#: Number of seeds within which a planted bug must be found.
SEEDS_FOR_A_BUG = 200


def main() -> int:
    args = _parser().parse_args()
    if args.planted:
        return _score(args.only or [bug.name for bug in BUGS], args.server)
    bug = BY_NAME[args.plant] if args.plant else None
    if bug:
        bug.install()
    return _simulate(args, bug)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate",
        description="Runs the shipped workers and producers on a virtual network in virtual time, "
        "against the shipped scripts on a real server, with faults drawn from a seed; and checks "
        "the promises of the design at every call.",
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run (100)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--server", default="", help="such as redis or 'valkey 9.1.2' (the first)")
    parser.add_argument("--hashes", action="store_true", help="print the trace hash of each seed")
    parser.add_argument(
        "--replay", type=int, metavar="SEED", help="print everything that happens in one seed"
    )
    parser.add_argument(
        "--shrink", action="store_true", help="with --replay: leave out faults that are not needed"
    )
    parser.add_argument(
        "--planted", action="store_true", help="count the planted bugs that are found"
    )
    parser.add_argument("--only", nargs="+", metavar="BUG", help="with --planted: only these")
    parser.add_argument("--plant", metavar="BUG", choices=BY_NAME, help="run with a planted bug")
    parser.add_argument("--first", action="store_true", help="stop at the first violation")
    return parser


def _simulate(args: argparse.Namespace, bug: Planted | None) -> int:
    # Imported here, because a module with a planted bug must not be imported before `install`.
    from tests.servers import Server
    from tests.simulation.drawing import draw
    from tests.simulation.servers import choose
    from tests.simulation.store import Store

    with Server(choose(args.server), appendonly="no") as server:
        store = Store(server, bug.edit_script if bug else None)
        try:
            if args.replay is not None:
                return _replay(draw(args.replay), store, args)
            return _run(range(args.start, args.start + args.seeds), store, server, args)
        finally:
            store.close()


def _run(seeds: range, store: object, server: object, args: argparse.Namespace) -> int:
    from tests.simulation.drawing import draw
    from tests.simulation.run import run
    from tests.simulation.store import Store

    assert isinstance(store, Store)
    began, results, failed = time.perf_counter(), [], 0
    for seed in seeds:
        result = run(draw(seed), store)
        results.append(result)
        if args.hashes:
            print(f"seed {seed}  {result.digest}", flush=True)
        if result.violation:
            failed += 1
            print(f"seed {seed}  {result.violation}")
            print(f"  scripts/simulate --replay {seed} --shrink{_options(args)}", flush=True)
            if args.first:
                break
    took = time.perf_counter() - began
    virtual = sum(each.virtual for each in results)
    print(
        f"{len(results)} seeds on {server}: {failed} violations, "
        f"{sum(each.events for each in results)} events handled, "
        f"{sum(each.calls for each in results)} steps; "
        f"{virtual:.0f} virtual seconds in {took:.0f}, {virtual / took:.0f} in one"
    )
    return 1 if failed else 0


def _options(args: argparse.Namespace) -> str:
    server = f" --server '{args.server}'" if args.server else ""
    return server + (f" --plant '{args.plant}'" if args.plant else "")


def _replay(scenario: object, store: object, args: argparse.Namespace) -> int:
    from tests.simulation.run import run
    from tests.simulation.scenario import Scenario
    from tests.simulation.shrink import shrink
    from tests.simulation.store import Store
    from tests.simulation.trace import Trace

    assert isinstance(scenario, Scenario)
    assert isinstance(store, Store)
    all_faults = len(scenario.faults)
    if args.shrink:
        scenario = shrink(scenario, store)
    trace = Trace(keep=None)
    result = run(scenario, store, trace)
    print("\n".join(trace.lines))
    print(f"\nseed {scenario.seed}  {result.digest}")
    for each in fields(scenario):
        if each.name not in ("seed", "faults"):
            print(f"  {each.name} = {getattr(scenario, each.name)}")
    print(f"{len(scenario.faults)} of {all_faults} faults:")
    for fault in scenario.faults:
        print(f"  {fault}")
    print(result.violation or "no violation")
    return 1 if result.violation else 0


def _score(names: list[str], server: str) -> int:
    """Plant each bug in a process of its own."""
    found = 0
    for name in names:
        began = time.perf_counter()
        command = [sys.executable, "-m", "tests.simulation", "--plant", name, "--first"]
        command += ["--seeds", str(SEEDS_FOR_A_BUG), "--server", server]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [each for each in done.stdout.splitlines() if each.startswith("seed ")]
        took = f"{time.perf_counter() - began:.0f} s"
        if done.returncode == 1 and lines:
            found += 1
            print(f"found      {name}: {lines[0][:150]} ({took})", flush=True)
        else:
            print(f"NOT FOUND  {name} ({took}) {done.stderr[-2000:]}", flush=True)
    print(f"{found} of {len(names)} planted bugs found within {SEEDS_FOR_A_BUG} seeds each")
    return 0 if found == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
