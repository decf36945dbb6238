"""``runnel processor``: add, reset, pause, resume, dead-letters, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import click

from runnel.app import App
from runnel.cli import exits, letters, urls
from runnel.cli.output import report
from runnel.cli.running import run
from runnel.cli.target import load_processor
from runnel.connection.connect import connect
from runnel.errors import ConfigError, Full, RunnelError
from runnel.operations import admin
from runnel.operations.partition_ranges import many, read_ranges
from runnel.operations.recall import instead, recall
from runnel.operations.registry import announce_processor
from runnel.operations.removing import Removed
from runnel.operations.removing import remove as forget
from runnel.operations.skipping import skip as skip_event
from runnel.preflight.checks import check_contract, check_operator, check_registration
from runnel.preflight.server import check_server
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

T = TypeVar("T")


class Numbers(click.ParamType):  # type: ignore[type-arg]
    """Numbers of partitions as `inspect` writes them: ``3``, ``0-3`` or ``0-3,7``."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return read_ranges(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_PARTITIONS = click.option(
    "--partition",
    "partitions",
    type=Numbers(),
    multiple=True,
    help="Only this one, or these: 3, 0-3 or 0-3,7. May be repeated.",
)


@click.group(epilog=exits.epilog("runnel processor pause example:printer"))
def processor() -> None:
    """Administer a processor, such as example:printer. Safe while workers run."""


def _chosen(found: Processor, partitions: Sequence[Sequence[int]]) -> list[int] | None:
    """The partitions that were named, or None for all. Exits with code 2 if one does not exist."""
    numbers = sorted({each for several in partitions for each in several})
    count = found.stream.partition_count
    if numbers and numbers[-1] >= count:
        most = count - 1
        exits.fail(f"--partition must be 0 to {most}, not {numbers[-1]}", exits.USAGE)
    return numbers or None


def _with_scripts(app: App, url: str | None, work: Callable[[Scripts, str], Awaitable[T]]) -> T:
    address = url or app.settings.redis_url

    async def connected() -> T:
        client = connect(address)
        try:
            await check_server(client, address)
            return await work(Scripts(client), address)
        finally:
            await client.aclose()

    return run(connected(), address)


@processor.command(
    short_help="Keep events for a processor before a worker runs.",
    epilog=exits.epilog("runnel processor add example:printer"),
)
@click.argument("target")
@urls.option
def add(target: str, redis_url: str | None) -> None:
    """Register a processor, so that events are kept for it before any worker runs."""
    app, found = load_processor(target)

    async def work(scripts: Scripts, url: str) -> list[str]:
        warnings = await check_registration(scripts, found, url)
        await admin.add(scripts, found)
        await announce_processor(scripts, found)
        return warnings

    for warning in _with_scripts(app, redis_url, work):
        click.echo(f"warning: {warning}", err=True)
    report(f"{found.name} is registered on {many(found.stream.partition_count)}")


@processor.command(
    short_help="Set where a processor goes on.",
    epilog=exits.epilog("runnel processor reset example:printer --start 2026-11-24T03:00:00Z"),
)
@click.argument("target")
@click.option(
    "--start",
    required=True,
    help="First event to be processed: earliest (or 0), latest (or $, the next to come), an id, or "
    "an ISO time (UTC if it has no zone).",
)
@_PARTITIONS
@urls.option
def reset(
    target: str, start: str, partitions: Sequence[Sequence[int]], redis_url: str | None
) -> None:
    """Set where a processor goes on. Running workers are fenced and read anew from there.

    Prints the new checkpoint of each partition: the event before the first to be processed.
    """
    app, found = load_processor(target)
    first, numbers = admin.start_id(start), _chosen(found, partitions)

    async def work(scripts: Scripts, url: str) -> list[str]:
        await check_operator(scripts, found, "reset", url)
        return await admin.reset(scripts, found, first, numbers)

    checkpoints = _with_scripts(app, redis_url, work)
    chosen = range(len(checkpoints)) if numbers is None else numbers
    for partition, checkpoint in zip(chosen, checkpoints, strict=True):
        report(f"{partition} {checkpoint}")


@processor.command(
    short_help="Stop a processor until it is resumed.",
    epilog=exits.epilog("runnel processor pause example:printer --partition 3"),
)
@click.argument("target")
@_PARTITIONS
@urls.option
def pause(target: str, partitions: Sequence[Sequence[int]], redis_url: str | None) -> None:
    """Stop a processor after the events in hand, until it is resumed."""
    app, found = load_processor(target)
    numbers = _chosen(found, partitions)

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
    ),
)
@click.argument("target")
@_PARTITIONS
@click.option(
    "--skip",
    is_flag=True,
    help="Set the failed events aside: as dead letters, if the processor keeps them.",
)
@urls.option
def resume(
    target: str, partitions: Sequence[Sequence[int]], skip: bool, redis_url: str | None
) -> None:
    """End a pause or a quarantine; the failed event is tried again, or with --skip set aside.

    With --skip also an event for which the policy HALT has ended its worker. One that workers still
    try again is skipped only if its --partition is named.
    """
    app, found = load_processor(target)
    numbers = _chosen(found, partitions)

    async def work(scripts: Scripts, url: str) -> None:
        await check_operator(scripts, found, "skip" if skip else "resume", url)
        chosen = list(range(found.stream.partition_count)) if numbers is None else numbers
        aside, failed = 0, dict[int, RunnelError]()
        if skip:
            aside, failed = await _skip(scripts, found, chosen, numbers is not None)
        changed = await admin.resume(scripts, found, [p for p in chosen if p not in failed])
        if changed or not (aside or failed):
            none = "" if changed else ": none of them is paused or quarantined"
            report(f"resumed {many(changed)} of {found.name}{none}")
        for error in failed.values():
            raise error

    _with_scripts(app, redis_url, work)


async def _skip(
    scripts: Scripts, found: Processor, chosen: list[int], named: bool
) -> tuple[int, dict[int, RunnelError]]:
    """Set aside what failed, partition by partition. Returns how many events, and where that could
    not be: such a partition stays as it is."""
    aside, failed = 0, dict[int, RunnelError]()
    for p in chosen:
        try:
            event, reason = await skip_event(scripts, found, p, named)
        except (ConfigError, Full) as error:
            failed[p] = error
            continue
        if event:
            aside += 1
            kept = f"kept as a dead letter in {found.sink.name}" if found.sink else "skipped"
            report(f"partition {p}: event {event} {kept}")
        elif reason:
            click.echo(f"partition {p}: {reason}", err=True)
    return aside, failed


@processor.command(
    name="dead-letters",
    short_help="Show the events that were set aside.",
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
    help="Only so many: the newest.",
)
@click.option("--json", "json_lines", is_flag=True, help="One object a line.")
@urls.option
def dead_letters(target: str, limit: int, json_lines: bool, redis_url: str | None) -> None:
    """Show the events that a processor has set aside, with what went wrong and their records.

    Only a look: it registers nothing, and keeps nothing from being read by a processor of
    `STREAM.dead_letters(…)`.
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
        return await letters.newest(scripts, found, limit)

    for letter in _with_scripts(app, redis_url, work):
        report(letters.as_json(letter) if json_lines else letters.as_text(letter))


@processor.command(
    short_help="Forget a processor.",
    epilog=exits.epilog(
        "runnel processor remove example:printer",
        "runnel processor remove orders@printer --app shop --redis-url redis://HOST",
    ),
)
@click.argument("target")
@click.option("--app", "app_name", help="App of a processor whose code is gone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@urls.option
def remove(target: str, app_name: str | None, yes: bool, redis_url: str | None) -> None:
    """Forget a processor: its position, its consumer groups, its hold on retention.

    With --app no code is needed: TARGET is then STREAM@PROCESSOR, and Redis is where --redis-url or
    RUNNEL_REDIS_URL says.
    """
    if app_name is None:
        app, found = load_processor(target)
        name, url = found.name, redis_url or app.settings.redis_url
    else:
        stream, at, name = target.partition("@")
        if not (stream and at and name):
            exits.fail(f"with --app, {target!r} must be STREAM@PROCESSOR", exits.USAGE)
        app = App(app_name)
        url = redis_url or app.settings.redis_url
    if not yes:
        click.confirm(f"Forget the position of {name} on every partition?", abort=True, err=True)

    async def work(scripts: Scripts, url: str) -> tuple[Removed, list[str]]:
        gone = await recall(scripts, app_name, stream, name) if app_name else found
        await check_operator(scripts, gone, "remove", url)
        done = await forget(scripts, gone)
        return done, [] if done.partitions else await instead(scripts, gone)

    removed, others = _with_scripts(app, url, work)
    if removed.members:
        click.echo(
            f"warning: {removed.members} workers still run {name}, and register it anew when they "
            "start again: end them, then run this again",
            err=True,
        )
    if removed.partitions:
        report(f"removed {name} from {many(removed.partitions)}")
    else:
        there = f"; there is {', '.join(others)}" if others else ""
        report(f"{name} was not registered{there}")
