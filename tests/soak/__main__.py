"""``scripts/soak``: real processes under faults, then the checks."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

import click

from runnel.embedded.binary import Binary
from tests.servers import available_servers
from tests.soak.converge import converge, spread
from tests.soak.run import Outcome, Plan, perform
from tests.soak.scene import MAX_WORKERS
from tests.soak.stage import STAGES


@click.command()
@click.option("--minutes", type=float, help="How long faults are injected.  [default: 1]")
@click.option("--events", type=int, help="Inject faults until this many events were sent.")
@click.option("--faults", type=int, help="Inject at least this many faults.")
@click.option(
    "--workers", type=click.IntRange(2, MAX_WORKERS), default=3, show_default=True, help="At first."
)
@click.option(
    "--mode",
    type=click.Choice(list(STAGES)),
    default="server",
    show_default=True,
    help="One server; a primary with a replica under three sentinels; a cluster of three masters.",
)
@click.option(
    "--server", "name", help="Part of the name of a server program, such as redis or 8.1."
)
@click.option("--seed", type=int, help="The seed of the fault schedule.")
@click.option("--only", help="Only these faults, separated by commas.")
@click.option("--rate", type=float, default=300, show_default=True, help="Events a second.")
@click.option(
    "--converge",
    "times",
    type=int,
    help="Only this many kills and this many clean leaves, each timed against its bound.",
)
def main(
    minutes: float | None,
    events: int | None,
    faults: int | None,
    workers: int,
    mode: str,
    name: str | None,
    seed: int | None,
    only: str | None,
    rate: float,
    times: int | None,
) -> None:
    """Workers and producers as processes, against real servers, under faults by a seeded schedule.

    The workers run a pipeline of two stages, with a table in each. Every event that a handler has
    finished is written to a file; at the end a checker replays them, and compares the tables and
    what was emitted with the truth. Exits 1 if a check fails, and then keeps the folder with all
    files and logs.

    \b
    Examples:
      $ scripts/soak --minutes 60
      $ scripts/soak --mode cluster --server redis --seed 7
      $ scripts/soak --only kill --faults 200 --workers 4
    """
    seed = SystemRandom().randrange(1_000_000) if seed is None else seed
    binary = choose(name)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    click.echo(f"seed {seed} · {mode} on {binary} · files in {folder}")
    with STAGES[mode](binary) as stage:
        if times is not None:
            ok = asyncio.run(converge(times, stage, folder, rate, click.echo))
        else:
            timeless = events is None and faults is None
            seconds = 60 * minutes if minutes else 60.0 if timeless else 1e9 if events else 0.0
            plan = Plan(
                seed,
                seconds,
                events or 1_000_000_000,
                rate,
                tuple(filter(None, (only or "").split(","))),
                workers,
                faults or 0,
            )
            outcome = asyncio.run(perform(plan, stage, folder, click.echo))
            ok = not outcome.verdict.violations
            click.echo(summary(outcome))
            (folder / "summary.txt").write_text(summary(outcome))
    if ok:
        shutil.rmtree(folder)
        click.echo("all checks hold")
        return
    click.echo(
        f"\nA CHECK FAILED. All files are kept in {folder}: NAME.effects lists what each worker "
        f"did, NAME.sent which events were acknowledged to each producer, NAME.log the output of "
        f"each. The same faults in the same order: "
        f"scripts/soak --mode {mode} --server '{binary}' --seed {seed}"
    )
    sys.exit(1)


def choose(name: str | None) -> Binary:
    """The first server program whose name contains `name`."""
    programs = available_servers()
    for each in programs:
        if name is None or name.lower() in str(each).lower():
            return each
    raise click.BadParameter(
        f"no server program here is {name!r}; there are {', '.join(map(str, programs))}"
    )


def summary(outcome: Outcome) -> str:
    """What happened, in a few lines."""
    verdict = outcome.verdict
    faults = ", ".join(f"{name} {count}" for name, count in sorted(outcome.faults.items()))
    lines = [
        "",
        f"events       {outcome.events} acknowledged, {outcome.unknown} unknown to their producer",
        f"faults       {outcome.faults.total()}: {faults}",
        f"take-overs   {verdict.takeovers}",
        f"duplicates   {verdict.duplicates}, at most {verdict.most_repeated} in one take-over",
        f"lost         {len(verdict.lost)}",
        f"tables       {', '.join(f'{name}: {n} keys' for name, n in outcome.keys.items())}",
        f"time         {outcome.seconds:.0f} s",
    ]
    lines += [spread(f"after a {how}", times) for how, times in outcome.converged.items()]
    listed = verdict.violations[:50]
    lines += [f"VIOLATION    {each}" for each in listed]
    if len(verdict.violations) > len(listed):
        lines.append(f"             and {len(verdict.violations) - len(listed)} more")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
