"""The command ``runnel conformance run``."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

import click

from runnel.cli import exits
from runnel.cli.conformance_view import (
    as_json,
    explained,
    finding_lines,
    rule_lines,
    state,
    summary,
    trial_lines,
)
from runnel.cli.numbers import Seconds
from runnel.cli.output import report
from runnel.conformance.running import Plan, Result, run
from runnel.conformance.scene import PYTHON, Commands
from runnel.conformance.trial import ABILITIES, Trial
from runnel.conformance.trials import TRIALS

_HELP = """Start your own worker and producer, in any language, and do to them what happens in
production: kill -9, suspension past the session, lost scripts, cut connections, lost and late
replies, full memory, trimmed events, two workers with one name. Then compare what they did with
the numbered rules of lua/clients.md: order, loss, repeats, fencing, every call on the wire.

It is the acceptance test of a client. Each trial has a server of its own, which is started here
and ends with it. The commands are started without a shell, several at once, in the current
directory. What they must do is short:

\b
Environment  RUNNEL_REDIS_URL           redis://127.0.0.1:PORT/0: no TLS, no
                                        password, but in the trial permissions:
                                        redis://USER:PASSWORD@127.0.0.1:PORT/0,
                                        both of small letters only
             RUNNEL_SESSION_TIMEOUT     seconds, such as 1.5
             RUNNEL_CONFORMANCE_MEMBER  the member id of a worker
Names        app conformance, stream trials, processor kit, 4 partitions,
             hash xxh64; partition key: the field "key" of the record, a text
Settings     size of a partition 300 entries; when_full refuse; start 0;
             policy quarantine, 3 retries, backoff 0.5 s doubled; the rest is
             Python's column of "What members should agree on" in lua/README.md
Records      {"key": "k-3", "number": 17, "work": 4, "text": "zażółć ☃"}
             texts of at most 1,000 characters, integers; nothing else but, in
             some trials, one more field:
             "block": MS   the handler keeps its thread for so long
             "fail": N     the first N tries in this process fail, then it works
             "die": true   the process ends with SIGKILL, each time
             The process is the one that holds the partition, also if it has
             children that run your code.
             Each try waits its "work" first, then does this. Before it fails or
             dies, it writes, in place of the line below:
             {"partition": 0, "id": "1-0", "failed": true}
Worker       for each event: wait as many milliseconds as the record's
             "work" says, then write one line to stdout, and flush it:
             {"partition": 0, "id": "1-0", "record": {...}}
             The id is that of the event, also if it was parked meanwhile.
             SIGTERM: leave the group, exit 0
             REPLACED: end, with an exit code that is not 0
Producer     sends each line of stdin, a record as JSON, and writes for each
             that was acknowledged, once and at once, with its key and number:
             {"key": "k-1", "number": 7, "id": "1-0"}
             or, when it has tried for ten seconds at least (it may try for ever):
             {"key": "k-1", "number": 7, "error": "why it was given up"}
             end of stdin: exit 0
stderr       is kept as NAME.log in the folder of the trial

docs/conformance.md has all of it, with examples.
"""

_EPILOG = f"""{explained()}\b
Examples:
  $ runnel conformance run --worker 'node worker.mjs' --producer 'node producer.mjs'
  $ runnel conformance run --worker ./worker --only kill,stop --keep
  $ runnel conformance run --list

\b
Exit codes:
  0   every trial passed
  1   a trial found that a rule was broken, or something was left undone
  2   wrong usage, a command cannot be started, or there is no server program
  13  nothing is certain: something did not come in time, but the machine stood
      still, also when the trial ran once more
  130 interrupted
"""


@click.group(epilog=_EPILOG.partition("\b\nExit")[0])
def conformance() -> None:
    """Test a client in any language against the rules of the protocol."""


class Names(click.ParamType):  # type: ignore[type-arg]
    """Names of trials, separated by commas."""

    name, of, known = "TRIALS", "trial", tuple(TRIALS)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names, each of which exists."""
        found = tuple(filter(None, str(value).split(","))) if isinstance(value, str) else value
        for each in found:
            if each not in self.known:
                known = ", ".join(self.known)
                self.fail(f"there is no {self.of} {each!r}; there are {known}", param, ctx)
        return found


class Abilities(Names):
    """Names of abilities, separated by commas."""

    name, of, known = "ABILITIES", "ability", tuple(ABILITIES)


@conformance.command(
    "run", help=_HELP, short_help="Run commands under faults, and judge them.", epilog=_EPILOG
)
@click.option("--worker", metavar="COMMAND", help="Starts one worker. Default: one in Python.")
@click.option("--producer", metavar="COMMAND", help="Starts one producer. Default: the kit sends.")
@click.option("--list", "list_", is_flag=True, help="Show the trials and what each does.")
@click.option("--rules", is_flag=True, help="Show the numbered rules that a failure names.")
@click.option("--only", type=Names(), default=(), help="Only these, separated by commas.")
@click.option("--skip", type=Names(), default=(), help="All but these, separated by commas.")
@click.option(
    "--without",
    type=Abilities(),
    default=(),
    help="What the client does not have and need not have, separated by commas: "
    f"{', '.join(ABILITIES)}.",
)
@click.option("--seed", type=int, help="Of the random choices. The first line has the one used.")
@click.option(
    "--session",
    type=Seconds(0.5),
    default=1.5,
    show_default=True,
    help="Seconds of a session. Longer on a slow machine; the trials take longer with it.",
)
@click.option(
    "--rate", type=click.IntRange(10, 5000), default=120, show_default=True, help="Events a second."
)
@click.option(
    "--patience",
    type=Seconds(1),
    default=30.0,
    show_default=True,
    help="Seconds in which commands must start, and must get on while something is left to do.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 32),
    default=2,
    show_default=True,
    help="Trials at a time, each with a server of its own.",
)
@click.option(
    "--times",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often each trial runs, with other random choices each time.",
)
@click.option("--json", "json_", is_flag=True, help="Print one JSON object at the end.")
@click.option("--keep", is_flag=True, help="Keep all logs, of passed trials too.")
def run_(
    worker: str | None,
    producer: str | None,
    list_: bool,
    rules: bool,
    only: Sequence[str],
    skip: Sequence[str],
    without: Sequence[str],
    seed: int | None,
    session: float,
    rate: int,
    patience: float,
    jobs: int,
    times: int,
    json_: bool,
    keep: bool,
) -> None:
    if list_:
        report("\n".join(trial_lines(TRIALS.values())))
        return
    if rules:
        report("\n".join(rule_lines()))
        return
    if worker is None and producer is None:
        raise click.UsageError("give --worker, --producer or both")
    chosen = [
        each for name, each in TRIALS.items() if name not in skip and name in (only or TRIALS)
    ]
    left_out = [each for each in chosen if each.needs in without and not each.refuses]
    chosen = [each for each in chosen if each not in left_out]
    if not chosen:
        raise click.UsageError("no trial is left: --skip or --without has all of --only")
    commands = Commands(
        _split("--worker", worker) if worker else [*PYTHON, "worker"],
        _split("--producer", producer) if producer else None,
    )
    seed = SystemRandom().randrange(1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="runnel-"))
    say = _silent if json_ else report
    names = ", ".join(each.name for each in left_out)
    left = f" (--without leaves out {names})" if left_out else ""
    say(f"seed {seed}; {len(chosen) * times} trials{left}; logs in {folder}")
    plan = Plan(
        *(commands, folder, seed, session, float(rate), patience, jobs, times),
        without=frozenset(without),
    )
    quoted: set[str] = set()
    results = _run(plan, chosen, lambda result: say("\n".join(finding_lines(result, quoted))))
    passed = all(each.passed for each in results)
    if json_:
        report(json.dumps(as_json(results, seed, without), ensure_ascii=False))
    else:
        report("\n".join(summary(results, without)))
    if passed and not keep:
        shutil.rmtree(folder, ignore_errors=True)
    elif not json_:
        report(f"\nThe logs of each trial are in {folder}; history.txt has every call and line.")
    failed = any(state(each) == "FAILED" for each in results)
    sys.exit(exits.UNEXPECTED if failed else exits.OK if passed else exits.INCONCLUSIVE)


def _silent(_: str) -> None:
    pass


def _split(option: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise click.UsageError(f"{option} {command!r} cannot be split: {error}") from error
    if not words:
        raise click.UsageError(f"{option} is empty")
    return words


def _run(plan: Plan, trials: Sequence[Trial], done: Callable[[Result], None]) -> list[Result]:
    """Run the trials; SIGTERM ends all processes, as Ctrl-C does."""

    async def main() -> list[Result]:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await run(plan, trials, done)

    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        exits.fail("interrupted; every process and server was ended", exits.INTERRUPTED)
