"""The commands ``runnel dead``: list, show, replay, drop."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar

import click

from runnel.cli import exits, urls
from runnel.cli.dead_lines import as_dict, detail, line, many
from runnel.cli.dead_summary import Summary, quarantined
from runnel.cli.output import report
from runnel.cli.partition_option import Numbers
from runnel.cli.running import with_scripts
from runnel.cli.target import load_processor
from runnel.errors import Full
from runnel.operations import dead as operations
from runnel.operations.dead import Wanted
from runnel.preflight.checks import check_dead
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

T = TypeVar("T")

_EXAMPLE = "runnel dead {} example:printer"


@click.group(
    epilog=exits.epilog(
        _EXAMPLE.format("list"), _EXAMPLE.format("replay") + " --key customer-7 --execute", codes=()
    )
)
def dead() -> None:
    """Administer what processors, such as example:printer, set aside: parked events and dead
    letters.

    Safe while workers run.
    """


@dataclass(frozen=True)
class Choice:
    """Of which processor, in which Redis, and which of the items it has set aside."""

    target: str
    partitions: Sequence[Sequence[int]]
    key: str | None
    since: int | None
    event: str | None
    redis_url: str | None

    def wanted(self, found: Processor) -> Wanted:
        """The items that are chosen. Ends with an error if there is no such partition."""
        numbers = sorted({each for several in self.partitions for each in several})
        most = found.stream.partition_count - 1
        if numbers and numbers[-1] > most:
            exits.fail(f"--partition must be 0 to {most}, not {numbers[-1]}", exits.USAGE)
        key = None if self.key is None else self.key.encode()
        return Wanted(numbers or None, key, self.since or 0, self.event)


def _options(function: Callable[..., None]) -> Callable[..., None]:
    """The options by which items are chosen. The function gets them as its `choice`."""

    @wraps(function)
    def with_choice(**given: Any) -> None:
        names = [each.name for each in fields(Choice)]
        function(Choice(**{name: given.pop(name) for name in names}), **given)

    chosen = [
        click.argument("target"),
        click.option(
            "--partition",
            "partitions",
            type=Numbers(),
            multiple=True,
            help="Only of this partition or these: 3, 0-3 or 0-3,7. May be repeated.",
        ),
        click.option("--key", help="Only of this partition key; empty for undecodable events."),
        click.option("--since", type=_Time(), help="Only what was set aside since this ISO time."),
        click.option("--event", help="Only the event with this id."),
        urls.option,
    ]
    decorated: Callable[..., None] = with_choice
    for each in reversed(chosen):
        decorated = each(decorated)
    return decorated


class _Time(click.ParamType):  # type: ignore[type-arg]
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-11-24T03:00:00Z", param, ctx)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1000))


_JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON object per line.")
_DONE = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
_EXECUTE = click.option(
    "--execute", is_flag=True, help="Do it. Without this, only say what would be done."
)


def _run(
    choice: Choice,
    action: str,
    work: Callable[[Scripts, Processor], Coroutine[Any, Any, T]],
) -> T:
    app, found = load_processor(choice.target)
    address = choice.redis_url or app.settings.redis_url

    async def checked(scripts: Scripts) -> T:
        await check_dead(scripts, found, action, address)
        return await work(scripts, found)

    return with_scripts(address, checked)


@dead.command(
    name="list",
    short_help="List parked events and dead letters.",
    epilog=exits.epilog(_EXAMPLE.format("list"), _EXAMPLE.format("list") + " --partition 3 --json"),
)
@_options
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="List at most this many.",
)
@_JSON
def list_(
    choice: Choice,
    limit: int,
    as_json: bool,
) -> None:
    """List what a processor has set aside, by partition, in the order in which it was.

    An event without an error only comes after another one of its key, which is parked. A postponed
    event is tried again by itself, at the time that is shown.
    """

    async def work(scripts: Scripts, found: Processor) -> None:
        number, summary = 0, Summary()
        wanted = choice.wanted(found)
        async for item in operations.find(scripts, found, wanted):
            number += 1
            if number > limit:
                click.echo(f"there are more than {limit}: see --limit", err=True)
                break
            summary.add(item)
            report(json.dumps(as_dict(found, item)) if as_json else line(item))
        if not as_json:
            report(("listed: " if number > limit else "") + summary.line())
            waits = await quarantined(scripts, found, choice.target, wanted.partitions)
            if waits:
                report(waits)

    _run(choice, "list", work)


@dead.command(
    short_help="Show parked events and dead letters with their records.",
    epilog=exits.epilog(_EXAMPLE.format("show") + " --event 1795435471123-0"),
)
@_options
@_JSON
def show(
    choice: Choice,
    as_json: bool,
) -> None:
    """Show what a processor has set aside: error, attempts, headers and record of each event, and
    the traceback of the error.

    If a replay of a parked event has failed, the error is the one of that replay, and the traceback
    the one for which the event was parked.
    """

    async def work(scripts: Scripts, found: Processor) -> None:
        wanted = choice.wanted(found)
        async for item in operations.find(scripts, found, wanted):
            shown = as_dict(found, item)
            report(json.dumps(shown) if as_json else "\n".join([line(item), *detail(shown)]))

    _run(choice, "show", work)


@dead.command(
    short_help="Have them processed after all, by this processor alone.",
    epilog=exits.epilog(
        _EXAMPLE.format("replay"),
        _EXAMPLE.format("replay") + " --key customer-7 --execute",
        codes=(*exits.ASKS, exits.REJECTED),
    ),
)
@_options
@_EXECUTE
@_DONE
def replay(
    choice: Choice,
    execute: bool,
    as_json: bool,
) -> None:
    """Have events processed after all, once their cause is mended: in order, before new events of
    their keys, and by this processor alone.

    If a parked event is chosen, all parked events of its key are replayed, to keep their order. The
    workers that hold the partitions claim them anew; what they had not committed repeats.
    """

    async def work(scripts: Scripts, found: Processor) -> None:
        wanted = choice.wanted(found)
        items = [each async for each in operations.find(scripts, found, wanted)]
        events = keys = 0
        for number, chosen in operations.with_whole_keys(items).items():
            known = await operations.parked_keys(scripts, found, number)
            keys += len(chosen)
            events += sum(known[each].count for each in chosen if each in known)
        letters = sum(1 for each in items if each.kind == "dead letter")
        if execute:
            try:
                await operations.replay(scripts, found, items)
            except Full as error:
                exits.fail(_full(error), exits.REJECTED)
        what = f"{many(events, 'parked event')} of {many(keys, 'key')}"
        what += f", and {many(letters, 'dead letter')}"
        if as_json:
            counts = {"parked": events, "keys": keys, "dead_letters": letters}
            report(json.dumps({**counts, "executed": execute}))
        elif execute:
            report(f"replaying {what}: `runnel inspect` shows when it is over")
        else:
            report(f"would replay {what}; add --execute to do it")

    _run(choice, "replay", work)


@dead.command(
    short_help="Delete them for good.",
    epilog=exits.epilog(
        _EXAMPLE.format("drop") + " --event 1795435471123-0",
        _EXAMPLE.format("drop") + " --event 1795435471123-0 --execute",
    ),
)
@_options
@_EXECUTE
@_DONE
def drop(
    choice: Choice,
    execute: bool,
    as_json: bool,
) -> None:
    """Delete parked events and dead letters for good.

    Later events of their keys stay parked: replay them.
    """

    async def work(scripts: Scripts, found: Processor) -> None:
        wanted = choice.wanted(found)
        items = [each async for each in operations.find(scripts, found, wanted)]
        dropped = await operations.drop(scripts, found, items) if execute else len(items)
        if as_json:
            report(json.dumps({"dropped": dropped, "executed": execute}))
        elif execute:
            report(f"dropped {many(dropped, 'event')}")
        else:
            for item in items:
                report(line(item))
            report(f"would drop {many(dropped, 'event')}; add --execute to do it")

    _run(choice, "drop", work)


def _full(error: Full) -> str:
    return (
        f"no more than {error.details.get('limit')} events of a partition may be parked "
        "(park_limit), and dead letters wait among them for their replay: run this again when "
        "`runnel inspect` shows that the others are replayed, or narrow it with --since"
    )
