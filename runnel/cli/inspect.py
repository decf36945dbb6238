"""The command ``runnel inspect``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import click
from redis.exceptions import RedisError

from runnel.app import App
from runnel.cli import exits, view
from runnel.cli.limits import STATES, Limits, States, judge
from runnel.cli.numbers import Seconds
from runnel.cli.output import report
from runnel.cli.running import explained, reporting_errors, runner
from runnel.cli.screen import Draw, alternate_screen
from runnel.cli.target import load_app
from runnel.cli.urls import REDIS_URL
from runnel.connection.connect import connect
from runnel.connection.url_text import redacted
from runnel.errors import ConfigError, ServerError
from runnel.operations import inspection
from runnel.operations.registry import Entry
from runnel.preflight.checks import check_contract
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from runnel.settings import url_of_environment

Json = dict[str, Any]


class Inspect(click.Command):
    """A command that accepts --watch without seconds also before a TARGET."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--watch" in args[:-1] and ":" in args[args.index("--watch") + 1]:
            args.insert(args.index("--watch") + 1, "2")
        return super().parse_args(ctx, args)


@click.command(
    cls=Inspect,
    epilog=exits.epilog(
        "runnel inspect example:app --watch",
        "runnel inspect --redis-url redis://HOST --json --max-lag 1000 --fail-on stalled",
    ),
)
@click.argument("target", required=False)
@click.option("--redis-url", type=REDIS_URL, help="URL of Redis. Sufficient without a TARGET.")
@click.option("--app", "app_name", help="Only this app, if no TARGET is given.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object (with --watch, one per line)."
)
@click.option("--wide", is_flag=True, help="Show all columns.")
@click.option(
    "--max-lag",
    type=click.IntRange(min=0),
    help="Exit 10 if the lag of a processor is more events.",
)
@click.option(
    "--fail-on",
    type=States(),
    multiple=True,
    help=f"Exit 11 if a partition is in one of these states: {', '.join(STATES)}.",
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
    "--watch",
    type=Seconds(0.1),
    is_flag=False,
    flag_value=2.0,
    help="Redraw every so many seconds (default 2), until Ctrl-C.",
)
def inspect(
    target: str | None,
    redis_url: str | None,
    app_name: str | None,
    as_json: bool,
    wide: bool,
    max_lag: int | None,
    fail_on: Sequence[Sequence[str]],
    max_dead: int | None,
    min_members: int | None,
    stalled_after: float,
    watch: float | None,
) -> None:
    """Show processors, partitions, members and streams, with their lag.

    Give a TARGET such as example:app, or --redis-url (or RUNNEL_REDIS_URL) alone. An unknown value
    is "?", and null in JSON. Exits with 0 unless a limit is given and exceeded; then with the
    highest code of these: 12, 11, 10.
    """
    if target and app_name:
        raise click.UsageError("give a TARGET or --app, not both")
    app = load_app(target) if target else None
    url = redis_url or (app.settings.redis_url if app else url_of_environment())
    if not url:
        raise click.UsageError("give a TARGET such as example:app, or --redis-url")
    inspector = Inspector(url, app, app_name, round(stalled_after * 1000))
    names = view.Names()
    if target and app:
        pairs = frozenset((each.stream.name, each.name) for each in app.processors.values())
        names = view.Names(target.partition(":")[0], target, pairs)

    def lines(seen: Json) -> list[str]:
        return view.lines(seen, redacted(url), names, wide)

    if watch is not None:
        _watch(inspector, watch, lines, as_json)
        return
    seen = inspector.once()
    report(json.dumps(seen) if as_json else "\n".join(lines(seen)))
    states = {state for chosen in fail_on for state in chosen}
    limits = Limits(states, stalled_after, max_lag, max_dead, min_members)
    sys.exit(judge(seen, limits))


class Inspector:
    """Makes reports of one app or of all, over one client."""

    def __init__(
        self, url: str, app: App | None, app_name: str | None, stalled_after_ms: int
    ) -> None:
        self.url = url
        self._app = app
        self._app_name = app.name if app else app_name
        self._stalled_after_ms = stalled_after_ms
        self._client = connect(url)

    def once(self) -> Json:
        """One report. Errors end the process."""
        with reporting_errors(self.url), runner() as loop:
            try:
                return loop.run(self.inspect())
            finally:
                loop.run(self.close())

    async def inspect(self) -> Json:
        """A report. Raises ServerError, Mismatch, ConfigError, redis-py's errors or OSError."""
        server = await check_server(self._client, self.url)
        declared = inspection.Declared()
        if self._app:
            specs = [stream.spec for stream in self._app.streams.values()]
            for spec in specs:
                await check_contract(Scripts(self._client), spec, self.url)
            declared = inspection.Declared(
                {spec.name: Entry.of(spec) for spec in specs},
                [(each.stream.name, each.name) for each in self._app.processors.values()],
                {
                    (each.stream.name, each.name): each.sink.name
                    for each in self._app.processors.values()
                    if each.sink
                },
            )
        elif self._app_name:
            known = await inspection.apps(self._client)
            if self._app_name not in known:
                raise ConfigError(
                    f"there is no app {self._app_name!r} at {redacted(self.url)}; there is "
                    f"{', '.join(known) or 'none'}"
                )
        return await inspection.inspect(
            self._client, server, self._app_name, declared, self._stalled_after_ms
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _watch(
    inspector: Inspector, seconds: float, lines: Callable[[Json], list[str]], as_json: bool
) -> None:
    """Show a report every so many seconds until Ctrl-C, which is no error. If Redis does not
    answer, this waits for it."""
    last: list[str] = []
    on_terminal = sys.stdout.isatty() and not as_json and os.environ.get("TERM") != "dumb"
    with (
        reporting_errors(inspector.url),
        runner() as loop,
        ExitStack() as screens,
        suppress(KeyboardInterrupt),
    ):
        screens.callback(lambda: loop.run(inspector.close()))
        seen = loop.run(inspector.inspect())
        draw = screens.enter_context(alternate_screen()) if on_terminal else None
        while True:
            if as_json:
                report(json.dumps(seen))
            else:
                last = lines(seen)
                draw(last) if draw else report("\n".join([*last, ""]))
            time.sleep(seconds)
            while (found := _next(inspector, loop, draw, last)) is None:
                time.sleep(seconds)
            seen = found
    if on_terminal:
        click.echo("\n".join(last))


def _next(
    inspector: Inspector, loop: asyncio.Runner, draw: Draw | None, last: list[str]
) -> Json | None:
    """The next report, or None after an error, which it shows."""
    try:
        return loop.run(inspector.inspect())
    except (ServerError, RedisError, OSError) as error:
        message = f"error: {explained(error, inspector.url)[0]}"
        draw([message, "", *last]) if draw else click.echo(message, err=True)
        return None
