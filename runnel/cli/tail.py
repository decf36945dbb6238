"""The command ``runnel tail``: shows the newest events of a stream, and those that come."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from runnel.cli import event_lines, exits, partition_option, stream_target
from runnel.cli.event_loop import Runner
from runnel.cli.following import follow as follow_log
from runnel.cli.output import report
from runnel.cli.partition_option import chosen_partitions
from runnel.cli.running import reporting_errors
from runnel.cli.stream_target import Chosen
from runnel.connection.connect import connect
from runnel.connection.url_text import redacted
from runnel.errors import ConfigError
from runnel.operations.admin import start_id
from runnel.operations.log_pages import Found, described, merged
from runnel.operations.readable import Json, Reader
from runnel.preflight.checks import check_reader
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec
from runnel.table_reader import partition_of

#: How many events are shown if neither --since nor -n says it.
NEWEST = 10
_AGO = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Number(click.ParamType):  # type: ignore[type-arg]
    """How many events: a number, or ``all``, which is None."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all":
            return value
        try:
            number = int(str(value))
        except ValueError:
            number = -1
        if number < 0:
            self.fail(f"{value!r} is neither a number of events nor 'all'", param, ctx)
        return number


@dataclass(frozen=True)
class Wanted:
    """What is to be shown: the newest `number` events since an id, None for all of them."""

    since: str
    number: int | None
    key: bytes | None
    partitions: Sequence[Sequence[int]]
    follow: bool
    json_lines: bool


@click.command(
    epilog=exits.epilog(
        "runnel tail example:orders",
        "runnel tail example:orders --key 42 -n 100",
        "runnel tail example:orders --since 15m --json | jq .record",
        "runnel tail example:orders -n 0 --follow",
        "runnel tail example:app --stream orders.printer.dead",
        "runnel tail --redis-url redis://HOST --app myapp --stream orders",
    )
)
@click.argument("target", required=False)
@partition_option.option
@click.option("--key", metavar="KEY", help="Only events with this key. Needs the stream's code.")
@click.option(
    "-n",
    "--number",
    type=Number(),
    help=f"The newest N events, or all. Default: {NEWEST}; with --since, all.",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new events, until Ctrl-C.")
@click.option(
    "--since",
    metavar="TIME",
    help="Only events from then on: 30s, 15m, 2h or 7d ago, an ISO time (UTC if it has no zone), "
    "or an event's id.",
)
@click.option("--json", "json_lines", is_flag=True, help="Print a JSON object per line.")
@stream_target.options
def tail(
    target: str | None,
    partitions: Sequence[Sequence[int]],
    key: str | None,
    number: int | str | None,
    follow: bool,
    since: str | None,
    json_lines: bool,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
) -> None:
    """Show the newest events of a stream, the oldest of them first.

    A line has time (UTC), partition, id, key (- if unknown), record and headers. The record is
    decoded by the code of TARGET. Without code, the entry says how. An event that cannot be decoded
    is shown as its fields, with the reason.

    The order is that of the ids in a partition. Over partitions it is by the time in the ids, which
    is the clock of the server; what --follow adds is shown as it arrives. It changes nothing, and
    no worker notices it.
    """
    stream = stream_target.choose(target, redis_url, app_name, stream_name)
    try:
        first = "-" if since is None else since_id(since, datetime.now(UTC))
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if number is None and since is None:
        number = NEWEST
    wanted = Wanted(
        since=first,
        number=number if isinstance(number, int) else None,
        key=None if key is None else os.fsencode(key),
        partitions=partitions,
        follow=follow,
        json_lines=json_lines,
    )
    with reporting_errors(stream.url), Runner() as loop:
        try:
            loop.run(_tail(stream, wanted))
        except KeyboardInterrupt:
            if not follow:
                raise  # It was ended before its end.


def since_id(text: str, now: datetime) -> str:
    """The first id to show, for --since. Raises ConfigError."""
    if ago := _AGO.fullmatch(text):
        try:
            moment = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            return "-"
        return f"{max(0, int(moment.timestamp() * 1000))}-0"
    try:
        found = start_id(text)
    except ConfigError as error:
        raise ConfigError(
            f"--since {text!r} is none of: a time ago, such as 30s, 15m, 2h or 7d; a time such as "
            "2026-11-24T03:00:00Z; an event's id such as 1795435471123-0; earliest; latest"
        ) from error
    return {"0": "-", "$": "+"}.get(found, found)


async def _tail(chosen_stream: Chosen, wanted: Wanted) -> None:
    client = connect(chosen_stream.url)
    try:
        await check_server(client, chosen_stream.url)
        scripts = Scripts(client)
        spec = await chosen_stream.spec(scripts)
        seen = await check_reader(scripts, spec, wanted.follow, chosen_stream.url)
        shower = Shower(chosen_stream.reader(spec), wanted)
        numbers = numbers_of(spec, chosen_stream.reader(spec), wanted)
        if seen.protocol is None:
            click.echo(
                f"note: Redis at {redacted(chosen_stream.url)} has no stream {spec.name} of app "
                f"{spec.app} yet: nothing was sent to it there",
                err=True,
            )
        held = await described(scripts, spec, numbers)
        ends = {number: each.last for number, each in held.items()}
        await _show_old(scripts, spec, shower, ends)
        if wanted.follow:
            new = follow_log(scripts, spec, ends, chosen_stream.url)
            async with aclosing(new) as events:
                async for found in events:
                    shower.show(found)
    finally:
        await client.aclose()


async def _show_old(
    scripts: Scripts, spec: StreamSpec[Any], shower: Shower, ends: dict[int, str]
) -> None:
    """Show what there is up to `ends`."""
    wanted = shower.wanted
    if wanted.number == 0 or wanted.since == "+":
        return
    await scripts.deployment.refresh()
    ranges = {number: (wanted.since, end) for number, end in ends.items() if end != "0-0"}
    newest_first = wanted.number is not None
    lines: list[str] = []
    async with aclosing(merged(scripts.deployment, spec, ranges, newest_first)) as events:
        async for found in events:
            line = shower.line(found)
            if line is None:
                continue
            if not newest_first:
                report(line)
                continue
            lines.append(line)
            if len(lines) == wanted.number:
                break
    for line in reversed(lines):
        report(line)


def numbers_of(spec: StreamSpec[Any], reader: Reader, wanted: Wanted) -> Iterable[int]:
    """The partitions to read. Raises ConfigError if events of a key cannot be told from others."""
    numbers = chosen_partitions(spec, wanted.partitions)
    if wanted.key is None:
        return range(spec.partition_count) if numbers is None else numbers
    number = partition_of(spec, wanted.key)
    if not reader.knows_keys:
        raise ConfigError(
            f"--key: only the code of stream {spec.name} knows which field is the key, and it is "
            f"not here. All events of this key are in partition {number}: give --partition {number}"
        )
    if numbers is not None and number not in numbers:
        raise ConfigError(f"--key: all events of this key are in partition {number}")
    return [number]


class Shower:
    """Writes events as they are wanted."""

    def __init__(self, reader: Reader, wanted: Wanted) -> None:
        self.wanted = wanted
        self._reader = reader

    def line(self, found: Found) -> str | None:
        """The line of an event. None if it has another key than the one that is wanted, and not
        if its key is unknown because it cannot be decoded."""
        event: Json = self._reader.read(found)
        if self.wanted.key not in (None, event["key"]) and "unreadable" not in event:
            return None
        return event_lines.as_json(event) if self.wanted.json_lines else event_lines.as_text(event)

    def show(self, found: Found) -> None:
        """Write an event, unless it has another key."""
        line = self.line(found)
        if line is not None:
            report(line)
