"""``runnel processor``: add, reset, pause, resume, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from runnel import admin
from runnel.app import App
from runnel.cli import exits
from runnel.cli.running import run
from runnel.cli.target import load_processor
from runnel.connection import check_server, connect
from runnel.preflight import check_operator, check_registration
from runnel.processor import Processor
from runnel.recall import recall
from runnel.registry import announce_processor
from runnel.scripts import Scripts

T = TypeVar("T")
_URL = click.option("--redis-url", help="Where Redis is, instead of what the app says.")


@click.group(epilog=exits.epilog("runnel processor pause example:printer"))
def processor() -> None:
    """Administer a processor, such as example:printer. Safe while workers run."""


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


@processor.command(epilog=exits.epilog("runnel processor add example:printer"))
@click.argument("target")
@_URL
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
    click.echo(f"{found.name} is registered on {found.stream.partition_count} partitions")


@processor.command(
    epilog=exits.epilog("runnel processor reset example:printer --start 2026-11-24T03:00:00Z")
)
@click.argument("target")
@click.option(
    "--start",
    required=True,
    help="First event to be processed: 0 (the oldest), $ (the next to come), an id, or an ISO "
    "time (UTC if it has no zone).",
)
@_URL
def reset(target: str, start: str, redis_url: str | None) -> None:
    """Set where a processor goes on. Running workers are fenced and read anew from there.

    Prints the new checkpoint of each partition: the event before the first to be processed.
    """
    app, found = load_processor(target)
    first = admin.start_id(start)

    async def work(scripts: Scripts, url: str) -> list[str]:
        await check_operator(scripts, found, "reset", url)
        return await admin.reset(scripts, found, first)

    checkpoints = _with_scripts(app, redis_url, work)
    for partition, checkpoint in enumerate(checkpoints):
        click.echo(f"{partition} {checkpoint}")


@processor.command(epilog=exits.epilog("runnel processor pause example:printer"))
@click.argument("target")
@_URL
def pause(target: str, redis_url: str | None) -> None:
    """Stop a processor after the events in hand, until it is resumed."""
    app, found = load_processor(target)

    async def work(scripts: Scripts, url: str) -> int:
        await check_operator(scripts, found, "pause", url)
        return await admin.pause(scripts, found)

    changed = _with_scripts(app, redis_url, work)
    click.echo(f"paused {changed} partitions of {found.name}")


@processor.command(epilog=exits.epilog("runnel processor resume example:printer --partition 3"))
@click.argument("target")
@click.option("--partition", type=int, help="Only this one.")
@click.option("--skip", is_flag=True, help="Set the failed events aside, as dead letters.")
@_URL
def resume(target: str, partition: int | None, skip: bool, redis_url: str | None) -> None:
    """End a pause or a quarantine; the failed event is tried again, or with --skip set aside."""
    app, found = load_processor(target)
    count = found.stream.partition_count
    if partition is not None and not 0 <= partition < count:
        exits.fail(f"--partition must be 0 to {count - 1}, not {partition}", exits.USAGE)
    numbers = list(range(count)) if partition is None else [partition]

    async def work(scripts: Scripts, url: str) -> None:
        await check_operator(scripts, found, "skip" if skip else "resume", url)
        await _resume(scripts, found, numbers, skip)

    _with_scripts(app, redis_url, work)


async def _resume(scripts: Scripts, found: Processor, numbers: list[int], skip: bool) -> None:
    if skip:
        for p in numbers:
            if event := await admin.skip(scripts, found, p, found.sink):
                kept = "kept as a dead letter" if found.sink else "skipped"
                click.echo(f"partition {p}: event {event} {kept}")
    changed = await admin.resume(scripts, found, numbers)
    click.echo(f"resumed {changed} partitions of {found.name}")


@processor.command(
    epilog=exits.epilog(
        "runnel processor remove example:printer",
        "runnel processor remove orders@printer --app shop --redis-url redis://HOST",
    )
)
@click.argument("target")
@click.option("--app", "app_name", help="App of a processor whose code is gone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_URL
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

    async def work(scripts: Scripts, url: str) -> int:
        gone = await recall(scripts, app_name, stream, name) if app_name else found
        await check_operator(scripts, gone, "remove", url)
        return await admin.remove(scripts, gone)

    removed = _with_scripts(app, url, work)
    if removed:
        click.echo(f"removed {name} from {removed} partitions")
    else:
        click.echo(f"{name} was not registered")
