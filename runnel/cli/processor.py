"""``runnel processor``: add, reset, pause, resume, remove."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from runnel import admin
from runnel.app import App
from runnel.cli import exits
from runnel.cli.target import load_processor
from runnel.connection import check_server, connect
from runnel.processor import Processor
from runnel.registry import announce_processor
from runnel.scripts import Scripts

T = TypeVar("T")
_URL = click.option("--redis-url", help="Where Redis is, instead of what the app says.")


@click.group(epilog=exits.EPILOG)
def processor() -> None:
    """Administer a processor, such as example:printer. Safe while workers run."""


def _with_scripts(app: App, url: str | None, work: Callable[[Scripts], Awaitable[T]]) -> T:
    address = url or app.settings.redis_url

    async def connected() -> T:
        client = connect(address)
        try:
            await check_server(client, address)
            return await work(Scripts(client))
        finally:
            await client.aclose()

    return exits.run(connected(), address)


@processor.command(epilog=exits.EPILOG)
@click.argument("target")
@_URL
def add(target: str, redis_url: str | None) -> None:
    """Register a processor, so that events are kept for it before any worker runs."""
    app, found = load_processor(target)

    async def work(scripts: Scripts) -> None:
        await admin.add(scripts, found)
        await announce_processor(scripts, found)

    _with_scripts(app, redis_url, work)
    click.echo(f"{found.name} is registered on {found.stream.partition_count} partitions")


@processor.command(epilog=exits.EPILOG)
@click.argument("target")
@click.option(
    "--start",
    required=True,
    help="First event to be processed: 0 (the oldest), $ (the next to come), an id, or an ISO "
    "time (UTC if it has no zone).",
)
@_URL
def reset(target: str, start: str, redis_url: str | None) -> None:
    """Set where a processor goes on. Running workers are fenced and read anew from there."""
    app, found = load_processor(target)

    async def work(scripts: Scripts) -> list[str]:
        return await admin.reset(scripts, found, admin.start_id(start))

    checkpoints = _with_scripts(app, redis_url, work)
    for partition, checkpoint in enumerate(checkpoints):
        click.echo(f"{partition} {checkpoint}")


@processor.command(epilog=exits.EPILOG)
@click.argument("target")
@_URL
def pause(target: str, redis_url: str | None) -> None:
    """Stop a processor after the events in hand, until it is resumed."""
    app, found = load_processor(target)
    changed = _with_scripts(app, redis_url, lambda scripts: admin.pause(scripts, found))
    click.echo(f"paused {changed} partitions of {found.name}")


@processor.command(epilog=exits.EPILOG)
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
    _with_scripts(app, redis_url, lambda scripts: _resume(scripts, found, numbers, skip))


async def _resume(scripts: Scripts, found: Processor, numbers: list[int], skip: bool) -> None:
    if skip:
        for p in numbers:
            if event := await admin.skip(scripts, found, p, found.sink):
                kept = "kept as a dead letter" if found.sink else "skipped"
                click.echo(f"partition {p}: event {event} {kept}")
    changed = await admin.resume(scripts, found, numbers)
    click.echo(f"resumed {changed} partitions of {found.name}")


@processor.command(epilog=exits.EPILOG)
@click.argument("target")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_URL
def remove(target: str, yes: bool, redis_url: str | None) -> None:
    """Forget a processor: its position, its consumer groups, its hold on retention."""
    app, found = load_processor(target)
    if not yes:
        click.confirm(f"Forget the position of {found.name} on every partition?", abort=True)
    _with_scripts(app, redis_url, lambda scripts: admin.remove(scripts, found))
    click.echo(f"{found.name} is removed")
