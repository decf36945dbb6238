"""``runnel inspect``."""

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
from runnel.cli.running import runner, told, verdict
from runnel.cli.screen import Draw, other_screen
from runnel.cli.target import load_app
from runnel.cli.urls import REDIS_URL
from runnel.connection.connect import connect
from runnel.connection.url_text import redacted
from runnel.errors import ConfigError, ServerError
from runnel.operations import inspection as reports
from runnel.preflight.checks import check_contract
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from runnel.settings import url_of_environment

Json = dict[str, Any]


class Inspect(click.Command):
    """Lets the seconds of --watch be left out before a TARGET, too."""

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
@click.option(
    "--redis-url", type=REDIS_URL, help="Where Redis is; enough by itself, without any code."
)
@click.option("--app", "app_name", help="Only this app, when no TARGET is given.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (a line each with --watch).")
@click.option("--wide", is_flag=True, help="All columns, whatever the width of the terminal.")
@click.option(
    "--max-lag", type=click.IntRange(min=0), help="Exit 10 if a processor lags more events behind."
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
    help="Exit 10 if more dead letters of a processor wait.",
)
@click.option(
    "--min-members",
    type=click.IntRange(min=0),
    help="Exit 12 if a processor has fewer live members.",
)
@click.option(
    "--stalled-after",
    type=Seconds(0),
    default=reports.STALLED_AFTER / 1000,
    show_default=True,
    help="Seconds an event may be in hand before its partition is stalled.",
)
@click.option(
    "--watch",
    type=Seconds(0.1),
    is_flag=False,
    flag_value=2.0,
    help="Redraw every so many seconds (2), until Ctrl-C.",
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

    Give a TARGET such as example:app, or --redis-url (or RUNNEL_REDIS_URL) alone. Unknown values
    are shown as "?" and are null in JSON. Exits 0 whatever it shows, unless a threshold is given;
    the gravest wins: 12, then 11, then 10.
    """
    if target and app_name:
        raise click.UsageError("give a TARGET or --app, not both")
    app = load_app(target) if target else None
    url = redis_url or (app.settings.redis_url if app else url_of_environment())
    if not url:
        raise click.UsageError("give a TARGET such as example:app, or --redis-url")
    look = Look(url, app, app_name, round(stalled_after * 1000))
    names = view.Names()
    if target and app:
        pairs = frozenset((each.stream.name, each.name) for each in app.processors.values())
        names = view.Names(target.partition(":")[0], target, pairs)

    def lines(picture: Json) -> list[str]:
        return view.picture(picture, redacted(url), names, wide)

    if watch is not None:
        _watch(look, watch, lines, as_json)
        return
    picture = look.once()
    report(json.dumps(picture) if as_json else "\n".join(lines(picture)))
    states = {state for chosen in fail_on for state in chosen}
    limits = Limits(states, stalled_after, max_lag, max_dead, min_members)
    sys.exit(judge(picture, limits))


class Look:
    """Looks at Redis, over one connection."""

    def __init__(
        self, url: str, app: App | None, app_name: str | None, stalled_after_ms: int
    ) -> None:
        self.url = url
        self._app = app
        self._app_name = app.name if app else app_name
        self._stalled_after_ms = stalled_after_ms
        self._client = connect(url)

    def once(self) -> Json:
        """One picture; errors end the process."""
        with told(self.url), runner() as loop:
            try:
                return loop.run(self.take())
            finally:
                loop.run(self.close())

    async def take(self) -> Json:
        """A picture. Raises ServerError, Mismatch, ConfigError, redis-py's errors or OSError."""
        server = await check_server(self._client, self.url)
        declared = reports.Declared()
        if self._app:
            specs = [stream.spec for stream in self._app.streams.values()]
            for spec in specs:
                await check_contract(Scripts(self._client), spec, self.url)
            declared = reports.Declared(
                {spec.name: (spec.partition_count, spec.source) for spec in specs},
                [(each.stream.name, each.name) for each in self._app.processors.values()],
                {
                    (each.stream.name, each.name): each.sink.name
                    for each in self._app.processors.values()
                    if each.sink
                },
            )
        elif self._app_name:
            known = await reports.apps(self._client)
            if self._app_name not in known:
                raise ConfigError(
                    f"there is no app {self._app_name!r} at {redacted(self.url)}; there is "
                    f"{', '.join(known) or 'none'}"
                )
        return await reports.inspect(
            self._client, server, self._app_name, declared, self._stalled_after_ms
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def _watch(look: Look, seconds: float, lines: Callable[[Json], list[str]], as_json: bool) -> None:
    """Pictures until Ctrl-C, which is a good end. If Redis goes away it is waited for."""
    last: list[str] = []
    on_terminal = sys.stdout.isatty() and not as_json and os.environ.get("TERM") != "dumb"
    with told(look.url), runner() as loop, ExitStack() as screens, suppress(KeyboardInterrupt):
        screens.callback(lambda: loop.run(look.close()))
        seen = loop.run(look.take())
        draw = screens.enter_context(other_screen()) if on_terminal else None
        while True:
            if as_json:
                report(json.dumps(seen))
            else:
                last = lines(seen)
                draw(last) if draw else report("\n".join([*last, ""]))
            time.sleep(seconds)
            while (found := _again(look, loop, draw, last)) is None:
                time.sleep(seconds)
            seen = found
    if on_terminal:
        click.echo("\n".join(last))


def _again(look: Look, loop: asyncio.Runner, draw: Draw | None, last: list[str]) -> Json | None:
    """The next picture, or None after saying why there is none."""
    try:
        return loop.run(look.take())
    except (ServerError, RedisError, OSError) as error:
        said = f"error: {verdict(error, look.url)[0]}"
        draw([said, "", *last]) if draw else click.echo(said, err=True)
        return None
