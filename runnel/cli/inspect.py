"""The command ``runnel inspect``. Imports the code of an app only for a TARGET: that is slow."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from runnel.cli import exits, folded, looked_at, tables, view, watching
from runnel.cli.address import Address, is_address
from runnel.cli.event_loop import Runner
from runnel.cli.inspector import Inspector, Look, assumed, choose
from runnel.cli.limits import STATES, WRONG, Limits, States, judge
from runnel.cli.names import Names
from runnel.cli.numbers import Seconds, is_number
from runnel.cli.output import report
from runnel.cli.running import explained, reporting_errors
from runnel.cli.urls import REDIS_URL
from runnel.cli.verdict import ForNagios, as_nagios, guarded, judged
from runnel.connection.url_text import redacted
from runnel.operations import inspection

Json = dict[str, Any]


def _print_schema(context: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        report(Path(__file__).with_name("inspect.schema.json").read_text().rstrip())
        context.exit()


class Inspect(ForNagios):
    """A command that accepts --watch and --serve without a value also before a TARGET."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--watch" in args[:-1] and not is_number(args[args.index("--watch") + 1]):
            args.insert(args.index("--watch") + 1, "2")
        if "--serve" in args[:-1] and not is_address(args[args.index("--serve") + 1]):
            args.insert(args.index("--serve") + 1, "127.0.0.1:9109")
        return super().parse_args(ctx, args)


@click.command(
    cls=Inspect,
    epilog=tables.explained()
    + exits.epilog(
        "runnel inspect example:app --watch",
        "runnel inspect example:app printer",
        "runnel inspect example:app printer 3",
        "runnel inspect --redis-url redis://HOST myapp/printer 3",
        "runnel inspect --redis-url redis://HOST --json --max-lag 1000 --fail-on stalled",
        codes=(*exits.ASKS, exits.LAG, exits.NOT_PROCESSING, exits.NO_MEMBER),
    ),
)
@click.argument("words", nargs=-1, metavar="[TARGET] [PROCESSOR [PARTITION]]")
@click.option("--redis-url", type=REDIS_URL, help="URL of Redis. Sufficient without a TARGET.")
@click.option("--app", "app_name", help="Only this app, if no TARGET is given.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object (with --watch, one per line)."
)
@click.option(
    "--all",
    "whole",
    is_flag=True,
    help="Show everything, as in a pipe. On a terminal, what finds no room is counted.",
)
@click.option("--wide", is_flag=True, help="Show everything, with all columns.")
@click.option("--partition", type=click.IntRange(min=0), help="The same as the word PARTITION.")
@click.option("--raw", is_flag=True, help="With a PARTITION, show the bytes of its event, too.")
@click.option(
    "--max-lag",
    type=click.IntRange(min=0),
    help="Exit 10 if the lag of a processor is more events.",
)
@click.option(
    "--fail-on",
    type=States(),
    multiple=True,
    help=f"Exit 11 if a partition is in one of these states: {', '.join(STATES)}. Of the last "
    "four, mixed: members of a processor run different versions; full: a stream refuses events; "
    "unread: no processor reads it; clock: that of the server was set back.",
)
@click.option(
    "--max-dead",
    type=click.IntRange(min=0),
    help="Exit 10 if more dead letters of a processor are unread.",
)
@click.option(
    "--min-members",
    type=click.IntRange(min=0),
    help="Exit 12 if a processor has fewer live members.",
)
@click.option(
    "--stalled-after",
    type=Seconds(0),
    default=inspection.STALLED_AFTER / 1000,
    show_default=True,
    help="Seconds that an event may take before its partition counts as stalled.",
)
@click.option(
    "--nagios",
    is_flag=True,
    help="One line with figures, and the exit codes of Nagios: 1 for lag and dead letters, 2, 3. "
    "Without a limit, with those of runnel check.",
)
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of --json, in which every field is explained, and exit.",
)
@click.option(
    "--watch",
    type=Seconds(0.1),
    is_flag=False,
    flag_value=2.0,
    help="Redraw every so many seconds (default 2), until Ctrl-C.",
)
@click.option(
    "--serve",
    "address",
    type=Address(),
    is_flag=False,
    flag_value="127.0.0.1:9109",
    metavar="HOST:PORT",
    help="Serve a page, /inspect.json and /metrics until Ctrl-C (default 127.0.0.1:9109). There is "
    "no login: whoever reaches the port reads.",
)
def inspect(
    words: Sequence[str],
    redis_url: str | None,
    app_name: str | None,
    as_json: bool,
    whole: bool,
    wide: bool,
    partition: int | None,
    raw: bool,
    max_lag: int | None,
    fail_on: Sequence[Sequence[str]],
    max_dead: int | None,
    min_members: int | None,
    stalled_after: float,
    nagios: bool,
    watch: float | None,
    address: tuple[str, int] | None,
) -> None:
    """Show processors, partitions, members and streams, with their lag.

    Give a TARGET such as example:app, or --redis-url (or RUNNEL_REDIS_URL) alone; without any of
    these it looks at redis://127.0.0.1:6379. With a PROCESSOR
    only that one is shown, and with a PARTITION all that is known of it: its state, its event with
    the record and the error, what is set aside, and what to type next. Without the code,
    APP/PROCESSOR takes the place of TARGET PROCESSOR.

    An unknown value is "?", and null in JSON. Exits with 0 unless a limit is given and exceeded;
    then with the highest code of these: 12, 11, 10.
    """
    if nagios and (as_json or watch is not None or address is not None):
        raise click.UsageError("--nagios prints one line: leave --json, --watch and --serve out")
    inspector, names = _inspector(words, redis_url, app_name, partition, raw, stalled_after)
    if address is not None:
        if inspector.look != Look():
            raise click.UsageError("--serve shows whole apps: leave PROCESSOR and PARTITION out")
        _serve(inspector, names, *address)
        return
    shown = f"{redacted(inspector.url)}{', the default' if assumed(inspector.url) else ''}"
    lines = partial(_lines, url=shown, names=names, whole=whole, wide=wide)
    if watch is not None:
        watching.watch(inspector, watch, lines, as_json)
        return
    states = {state for chosen in fail_on for state in chosen}
    limits = Limits(states, stalled_after, max_lag, max_dead, min_members)
    if nagios:
        sys.exit(_nagios(inspector, limits, names))
    seen = inspector.once()
    report(json.dumps(seen) if as_json else "\n".join(lines(seen)))
    sys.exit(judge(seen, limits, names))


def _nagios(inspector: Inspector, limits: Limits, names: Names) -> int:
    """Write the line for Nagios, by default with the limits of `runnel check`."""
    if limits == Limits(set(), limits.stalled_after, None, None, None):
        limits = Limits(WRONG, limits.stalled_after, None, None, 1)
    return as_nagios(guarded(inspector, judged(inspector, limits, names)))


def _inspector(
    words: Sequence[str],
    redis_url: str | None,
    app_name: str | None,
    partition: int | None,
    raw: bool,
    stalled_after: float,
) -> tuple[Inspector, Names]:
    """What makes the reports that the words ask for, and how commands name what is in them."""
    named = looked_at.read(words, app_name, partition)
    url, app = choose(named.target, redis_url, named.app)
    if named.processor and app and app.processor:
        raise click.UsageError(f"{named.target} names a processor: leave {named.processor!r} out")
    look = Look(named.processor or (app.processor if app else None), named.partition, raw)
    if look.partition is not None and look.processor is None:
        raise click.UsageError(f"of which processor? {looked_at.HOW}")
    made = Inspector(url, app, named.app, round(stalled_after * 1000), look)
    return made, replace(app.names if app else Names(), redis_url=redis_url)


def _lines(seen: Json, *, url: str, names: Names, whole: bool, wide: bool) -> list[str]:
    """A report for people."""
    if "partition" in seen:
        from runnel.cli import partition_view  # Seldom needed, and takes time to import.

        return partition_view.lines(seen, url, names, shutil.get_terminal_size().columns)
    if whole or wide or not watching.on_terminal():
        return view.lines(seen, url, names, wide)
    columns, rows = shutil.get_terminal_size()
    return folded.lines(seen, url, names, columns, rows - 1)  # The prompt of the shell takes one.


def _serve(inspector: Inspector, names: Names, host: str, port: int) -> None:
    """Serve reports until SIGTERM or Ctrl-C."""
    from runnel.cli import page, serving

    if names.declared is None and names.redis_url is None:
        # The variable that has it may be set here, and not where commands are typed.
        names = replace(names, redis_url=inspector.url)

    async def work() -> None:
        reports = serving.Reports(inspector, lambda error: explained(error, inspector.url)[0])
        words = page.Words(inspector.url, names)
        try:
            await serving.serve_until_stopped(reports, words, host, port)
        finally:
            await inspector.close()

    with reporting_errors(inspector.url), Runner() as loop:
        loop.run(work())
