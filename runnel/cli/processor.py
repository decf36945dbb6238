"""The commands ``runnel processor``: add, reset, pause, resume, acknowledge,
dead-letters, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from runnel.app import App
from runnel.cli import codeless_target, exits, partition_option, skipping, urls
from runnel.cli import dead_letters as reading
from runnel.cli import reset as resetting
from runnel.cli.asking import agree
from runnel.cli.output import report
from runnel.cli.partition_option import chosen_partitions
from runnel.cli.running import with_scripts
from runnel.cli.target import load_processor
from runnel.operations import admin
from runnel.operations.partition_ranges import many
from runnel.operations.processor_from_registry import (
    processor_from_registry,
    registered_instead,
)
from runnel.operations.registry import announce_processor
from runnel.operations.removing import Removed, parked_events, unprocessed_events
from runnel.operations.removing import remove as remove_processor
from runnel.operations.table_admin import tables_of
from runnel.preflight.checks import check_contract, check_operator, check_registration
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

T = TypeVar("T")
#: A time is in the future if it is so far ahead of the clock here: that of the server may differ.
_AHEAD = timedelta(minutes=1)


@click.group(epilog=exits.epilog("runnel processor pause example:printer", codes=()))
def processor() -> None:
    """Administer a processor, such as example:printer. Safe while workers run."""


def _with_scripts(app: App, url: str | None, work: Callable[[Scripts, str], Awaitable[T]]) -> T:
    address = url or app.settings.redis_url
    return with_scripts(address, lambda scripts: work(scripts, address))


@processor.command(
    short_help="Keep events for a processor before a worker runs.",
    epilog=exits.epilog("runnel processor add example:printer"),
)
@click.argument("target")
@urls.option
def add(target: str, redis_url: str | None) -> None:
    """Register a processor, so that events are kept for it before any worker runs."""
    app, found = load_processor(target, must_exist=False)

    async def work(scripts: Scripts, url: str) -> list[str]:
        warnings = await check_registration(scripts, found, url)
        await admin.add(scripts, found)
        await announce_processor(scripts, found)
        return warnings

    for warning in _with_scripts(app, redis_url, work):
        click.echo(f"warning: {warning}", err=True)
    report(f"{found.name} is registered on {many(found.stream.partition_count)}")


@processor.command(
    short_help="Set the checkpoint of a processor.",
    epilog=exits.epilog(
        "runnel processor reset example:printer --start 2026-11-24T03:00:00Z",
        "runnel processor reset example:book --start earliest --tables clear --execute",
    ),
)
@click.argument("target")
@click.option(
    "--start",
    required=True,
    help="First event to be processed: earliest (or 0), latest (or $, the next new event), an id, "
    "or an ISO time (UTC if it has no zone).",
)
@partition_option.option
@click.option(
    "--tables",
    type=click.Choice(["keep", "clear"]),
    help="Keep or clear the tables of the processor. Required if it has tables.",
)
@click.option("--execute", is_flag=True, help="Reset. Without it, only say what would be changed.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@urls.option
def reset(
    target: str,
    start: str,
    partitions: Sequence[Sequence[int]],
    tables: str | None,
    execute: bool,
    as_json: bool,
    redis_url: str | None,
) -> None:
    """Set the checkpoint of a processor. Running workers are fenced and continue from there.

    Prints the new checkpoint of each partition: the event before the first to be processed.

    A table that is kept already counts the events that are processed again. One that is cleared
    counts only those: for right totals, start with the earliest event, or restore a snapshot (see
    `runnel table restore`). Its checkpoint and its tables change together on each partition.
    """
    app, found = load_processor(target)
    first = admin.start_id(start, datetime.now(UTC) + _AHEAD)
    numbers = chosen_partitions(found.stream, partitions)
    wanted = resetting.Wanted(start, first, numbers, tables, execute)

    async def work(scripts: Scripts, url: str) -> dict[str, Any]:
        return await resetting.reset(scripts, app, found, wanted, url)

    resetting.show(_with_scripts(app, redis_url, work), as_json)


@processor.command(
    short_help="Pause a processor until it is resumed.",
    epilog=exits.epilog("runnel processor pause example:printer --partition 3"),
)
@click.argument("target")
@partition_option.option
@urls.option
def pause(target: str, partitions: Sequence[Sequence[int]], redis_url: str | None) -> None:
    """Pause a processor after its current events, until it is resumed."""
    app, found = load_processor(target)
    numbers = chosen_partitions(found.stream, partitions)

    async def work(scripts: Scripts, url: str) -> int:
        await check_operator(scripts, found, "pause", url)
        return await admin.pause(scripts, found, numbers)

    changed = _with_scripts(app, redis_url, work)
    report(f"paused {many(changed)} of {found.name}")


@processor.command(
    short_help="End a pause or a quarantine.",
    epilog=exits.epilog(
        "runnel processor resume example:printer --partition 3",
        "runnel processor resume example:printer --partition 3 --skip",
        codes=(*exits.ASKS, exits.REJECTED),
    ),
)
@click.argument("target")
@partition_option.option
@click.option(
    "--skip",
    is_flag=True,
    help="Skip the failed events. They become dead letters if the processor keeps them.",
)
@click.option("--yes", is_flag=True, help="With --skip: do not ask.")
@urls.option
def resume(
    target: str, partitions: Sequence[Sequence[int]], skip: bool, yes: bool, redis_url: str | None
) -> None:
    """End a pause or a quarantine. The failed event is retried, or with --skip skipped.

    --skip shows each failed event with its error and its record, and asks first. It also skips an
    event for which the policy HALT stopped a worker. An event that workers still retry is skipped
    only if you name its --partition.
    """
    app, found = load_processor(target)
    numbers = chosen_partitions(found.stream, partitions)
    named = numbers is not None
    chosen = list(range(found.stream.partition_count)) if numbers is None else numbers

    async def look(scripts: Scripts, url: str) -> dict[int, str]:
        await check_operator(scripts, found, "skip", url)
        code = None if codeless_target.matches(target) else app
        return await skipping.look(scripts, code, found, chosen, named)

    events = _with_scripts(app, redis_url, look) if skip else {}
    if events and not yes:
        skipping.ask(found, events, named)

    async def work(scripts: Scripts, url: str) -> None:
        await check_operator(scripts, found, "skip" if skip else "resume", url)
        failed = await skipping.skip(scripts, found, events, named)
        changed = await admin.resume(scripts, found, [p for p in chosen if p not in failed])
        if changed or not events:
            none = "" if changed else ": none of them is paused or quarantined"
            report(f"resumed {many(changed)} of {found.name}{none}")
        for error in failed.values():
            raise error

    _with_scripts(app, redis_url, work)


@processor.command(
    short_help="Note that lost events were dealt with.",
    epilog=exits.epilog("runnel processor acknowledge example:printer"),
)
@click.argument("target")
@partition_option.option
@urls.option
def acknowledge(target: str, partitions: Sequence[Sequence[int]], redis_url: str | None) -> None:
    """Note that you have dealt with the events that a processor has lost: sent them again, or given
    them up.

    `runnel inspect` no longer names them as a problem, but those that are lost from now on. The
    column LOST keeps the number.
    """
    app, found = load_processor(target)
    numbers = chosen_partitions(found.stream, partitions)

    async def work(scripts: Scripts, url: str) -> int:
        await check_operator(scripts, found, "acknowledge", url)
        return await admin.acknowledge(scripts, found, numbers)

    count = _with_scripts(app, redis_url, work)
    events = "1 lost event" if count == 1 else f"{count} lost events"
    report(
        f"acknowledged {events} of {found.name}: no alarm names them any more, and nothing sends "
        "them again by itself"
    )


@processor.command(
    name="dead-letters",
    short_help="Show the dead letters of a processor.",
    epilog=exits.epilog(
        "runnel processor dead-letters example:printer",
        "runnel processor dead-letters example:printer --limit 1000 --json > dead.jsonl",
    ),
)
@click.argument("target")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=20,
    show_default=True,
    help="Show at most this many, the newest.",
)
@click.option("--json", "json_lines", is_flag=True, help="Print a JSON object per line.")
@urls.option
def dead_letters(target: str, limit: int, json_lines: bool, redis_url: str | None) -> None:
    """Show the dead letters of a processor, with their errors and records.

    It registers nothing and changes nothing: a processor of `STREAM.dead_letters(…)` still reads
    all of them.
    """
    app, found = load_processor(target)
    if found.sink is None:
        exits.fail(
            f"processor {found.name} keeps no dead letters: declare it with "
            "middleware=[DeadLetterMiddleware()]",
            exits.USAGE,
        )

    async def work(scripts: Scripts, url: str) -> list[dict[str, Any]]:
        await check_contract(scripts, found.stream, url)
        return await reading.newest(scripts, found, limit)

    for each in _with_scripts(app, redis_url, work):
        report(reading.as_json(each) if json_lines else reading.as_text(each))


@processor.command(
    short_help="Remove a processor.",
    epilog=exits.epilog(
        "runnel processor remove example:printer",
        "runnel processor remove orders@printer --app shop --redis-url redis://HOST",
        codes=(*exits.ASKS, exits.REJECTED),
    ),
)
@click.argument("target")
@click.option("--app", "app_name", help="App of a processor whose code is gone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@urls.option
def remove(target: str, app_name: str | None, yes: bool, redis_url: str | None) -> None:
    """Remove a processor: its checkpoints and its consumer groups. No events are kept for it.

    Its parked events are deleted. The tables that it wrote stay, and no other processor may write
    them: see `runnel table clear`. If it is added again, it starts anew with the events, but with
    the tables as they are.

    With --app no code is needed: TARGET is then STREAM@PROCESSOR, and --redis-url or
    RUNNEL_REDIS_URL is the URL of Redis.
    """
    if app_name is None:
        app, found = load_processor(target, must_exist=False)
        name, url = found.name, redis_url or app.settings.redis_url
    else:
        stream, at, name = target.partition("@")
        if not (stream and at and name):
            exits.fail(f"with --app, {target!r} must be STREAM@PROCESSOR", exits.USAGE)
        app = App(app_name)
        url = redis_url or app.settings.redis_url

    async def check(scripts: Scripts, url: str) -> tuple[Processor, int, int | None]:
        named = found if app_name is None else None
        if named is None:
            named = await processor_from_registry(scripts, app_name or "", stream, name)
        await check_operator(scripts, named, "remove", url)
        lag = await unprocessed_events(scripts, named)
        return named, await parked_events(scripts, named.stream, named.name), lag

    named, parked, lag = _with_scripts(app, url, check)
    lost = f"{parked} parked event{'' if parked == 1 else 's'}"
    if not yes:
        _ask_removal(name, lag, lost if parked else "")

    async def work(scripts: Scripts, url: str) -> tuple[Removed, list[str], list[str]]:
        done = await remove_processor(scripts, named)
        others = [] if done.partitions else await registered_instead(scripts, named)
        return done, others, await tables_of(scripts, named)

    removed, others, tables = _with_scripts(app, url, work)
    if removed.members:
        click.echo(
            f"warning: {removed.members} workers still run {name}, and will register it again when "
            "they restart: stop them, then run this again",
            err=True,
        )
    if removed.partitions:
        report(f"removed {name} from {many(removed.partitions)}")
        if parked:
            report(f"dropped {lost}")
        if tables:
            several = "s" if len(tables) > 1 else ""
            report(
                f"kept the table{several} {', '.join(tables)}: `runnel table clear` deletes the "
                "keys, so that another processor may write"
            )
    else:
        suggestion = f"; the registry has {', '.join(others)}" if others else ""
        report(f"{name} was not registered{suggestion}")


def _ask_removal(name: str, lag: int | None, parked: str) -> None:
    """Say what a removal gives up, and ask. Ends the command unless the answer is yes."""
    if lag == 0:
        stake = f"{name} has processed all its events"
    else:
        count = "unprocessed events" if lag is None else f"{lag} unprocessed event{'s' * (lag > 1)}"
        stake = f"{name} will never process its {count}"
    also = f", and its {parked}" if parked else ""
    click.echo(f"{stake}; other processors are not affected", err=True)
    agree(f"Remove the checkpoints of {name} on every partition{also}?", "nothing was removed")
