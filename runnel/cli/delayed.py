"""The command ``runnel delayed``, and the options with which ``runnel send`` sends later."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from runnel import protocol
from runnel.cli import event_lines, exits, partition_option, stream_target
from runnel.cli.output import report
from runnel.cli.partition_option import chosen_partitions
from runnel.cli.running import with_scripts
from runnel.cli.stream_target import Chosen
from runnel.delayed import Delayed
from runnel.operations.log_pages import Found
from runnel.operations.waiting import Waiting, find, next_due
from runnel.preflight.delayed_checks import check_delayed
from runnel.protocol.scripts import Scripts
from runnel.stream import Sent

Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

_DELAY = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd]?)")
_UNITS = {"ms": "milliseconds", "": "seconds", "s": "seconds", "m": "minutes", "h": "hours"}
#: Events that are listed unless -n says otherwise.
NEXT = 20


class Delay(click.ParamType):  # type: ignore[type-arg]
    """A command-line option: a time from now."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not (found := _DELAY.fullmatch(str(value))):
            self.fail(f"{value!r} is none of 30, 30s, 15m, 2h, 7d, 500ms", param, ctx)
        try:
            return timedelta(**{_UNITS.get(found[2], "days"): float(found[1])})
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)


class At(click.ParamType):  # type: ignore[type-arg]
    """A command-line option: a date and a time, in UTC if it has no zone."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            found = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-12-24T18:00:00Z", param, ctx)
        return found if found.tzinfo else found.replace(tzinfo=UTC)


def options(command: F) -> F:
    """The options `delay` and `at` of a command that sends."""
    for option in (
        click.option("--at", type=At(), help="Send then: an ISO time, UTC if it has no zone."),
        click.option("--delay", type=Delay(), help="Send later: after 30s, 15m, 2h or 7d."),
    ):
        command = option(command)
    return command


def sent_text(sent: Sent | Delayed, as_json: bool) -> str:
    """What a command says that has sent an event."""
    due = {"due": _time(sent.due)} if isinstance(sent, Delayed) else {}
    if as_json:
        return json.dumps({"partition": sent.partition, "id": sent.id, **due})
    return f"{sent.partition} {sent.id}" + "".join(f" due {each}" for each in due.values())


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@click.group(
    epilog=exits.epilog(
        "runnel delayed list example:orders",
        "runnel delayed cancel example:orders 4 1795877224744-1795877164744123 --execute",
        codes=(),
    )
)
def delayed() -> None:
    """Administer events that are sent later, such as with `runnel send --delay`."""


@delayed.command(
    "list",
    epilog=exits.epilog(
        "runnel delayed list example:orders",
        "runnel delayed list example:orders -n 100 --json | jq .record",
        "runnel delayed list --redis-url redis://HOST --app myapp --stream orders",
    ),
)
@click.argument("target", required=False)
@partition_option.option
@click.option(
    "-n",
    "--number",
    type=click.IntRange(1, 10_000),
    default=NEXT,
    show_default=True,
    help="The most events to show.",
)
@click.option("--json", "json_lines", is_flag=True, help="Print a JSON object per line.")
@stream_target.options
def list_(
    target: str | None,
    partitions: Sequence[Sequence[int]],
    number: int,
    json_lines: bool,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
) -> None:
    """Show the events that are due next, the first of them first.

    A line has the time when it is due (UTC), partition, id, key (- if unknown), record and headers.
    The id is for `runnel delayed cancel`; the event gets another one when it enters the log.
    """
    stream = stream_target.choose(target, redis_url, app_name, stream_name)

    async def read(scripts: Scripts) -> list[Json]:
        spec = await stream.spec(scripts)
        await check_delayed(scripts, spec, stream.url)
        chosen = chosen_partitions(spec, partitions) or range(spec.partition_count)
        found = await next_due(scripts, spec, chosen, number + 1)
        return [_readable(stream, spec, each) for each in found]

    found = with_scripts(stream.url, read)
    for event in found[:number]:
        report(event_lines.as_json(event) if json_lines else event_lines.as_text(event))
    if len(found) > number:
        click.echo(f"there are more than {number}: see -n", err=True)


@delayed.command(
    epilog=exits.epilog(
        "runnel delayed cancel example:orders 4 1795877224744-1795877164744123 --execute",
        "runnel delayed cancel 4 ID --redis-url redis://HOST --app myapp --stream orders",
        codes=(*exits.ASKS, exits.NO_VALUE),
    )
)
@click.argument("words", nargs=-1, metavar="[TARGET] PARTITION ID")
@click.option("--execute", is_flag=True, help="Cancel it. Without this, it is only shown.")
@stream_target.options
def cancel(
    words: Sequence[str],
    execute: bool,
    redis_url: str | None,
    app_name: str | None,
    stream_name: str | None,
) -> None:
    """Cancel a delayed event: by its PARTITION and ID, as `runnel send` and `delayed list` name it.

    Exits with 6 if it does not wait any more.
    """
    target, (first, id_) = stream_target.split(words, 2, app_name, "PARTITION ID")
    if not first.isdecimal():
        raise click.UsageError(f"PARTITION must be a number, not {first!r}")
    stream = stream_target.choose(target, redis_url, app_name, stream_name)
    receipt = Delayed(int(first), id_, datetime.now(UTC))
    due = receipt.parts()

    async def work(scripts: Scripts) -> Json | None:
        spec = await stream.spec(scripts)
        await check_delayed(scripts, spec, stream.url, cancels=execute)
        if receipt.partition >= spec.partition_count:
            most = spec.partition_count - 1
            exits.fail(f"PARTITION must be 0 to {most}, not {receipt.partition}", exits.USAGE)
        found = await find(scripts, spec, receipt)
        if found is None:
            return None
        call = protocol.cancel(spec.prefix(receipt.partition), *due)
        removed = not execute or await scripts.call(call)
        return _readable(stream, spec, found) if removed else None

    event = with_scripts(stream.url, work)
    if event is None:
        exits.fail(
            f"no event {id_} waits in partition {first} of stream {stream.name}: it has entered "
            "the log, or was cancelled",
            exits.NO_VALUE,
        )
    report(event_lines.as_text(event))
    report("cancelled" if execute else "not cancelled: add --execute")


def _readable(stream: Chosen, spec: Any, found: Waiting) -> Json:
    receipt = found.receipt
    event = stream.reader(spec).read(Found(receipt.partition, receipt.id, found.entry))
    return {**event, "at": _time(receipt.due)}
