"""The command ``runnel stream delete``."""

from __future__ import annotations

from typing import Any

import click

from runnel.app import App
from runnel.cli import exits, urls
from runnel.cli.output import report
from runnel.cli.running import with_scripts
from runnel.cli.target import load_stream
from runnel.connection.url_text import redacted
from runnel.operations import admin
from runnel.operations.removing import parked_events
from runnel.operations.waiting import count
from runnel.preflight.checks import check_deletion
from runnel.protocol.scripts import Scripts
from runnel.stream import Stream


@click.group(epilog=exits.epilog("runnel stream delete example:orders"))
def stream() -> None:
    """Administer a stream, such as example:orders."""


@stream.command(
    short_help="Delete a stream with all its events.",
    epilog=exits.epilog("runnel stream delete example:orders"),
)
@click.argument("target")
@click.option("--yes", is_flag=True, help="Do not ask.")
@urls.option
def delete(target: str, yes: bool, redis_url: str | None) -> None:
    """Delete a stream with all its events, delayed ones too, its tables and their snapshots, and
    the checkpoints of its processors with what they have parked."""
    found = load_stream(target)
    url = redis_url or found.app.settings.redis_url

    async def check(scripts: Scripts) -> tuple[int, int]:
        await check_deletion(scripts, found.spec, url)
        return await parked_events(scripts, found.spec), await count(scripts, found.spec)

    parked, delayed = with_scripts(url, check)
    dropped = [
        *([f"{parked} parked event{'' if parked == 1 else 's'} of its processors"] * bool(parked)),
        *([f"{delayed} delayed event{'' if delayed == 1 else 's'}"] * bool(delayed)),
    ]
    lost = " and ".join(dropped)
    if not yes:
        also = f"{_tables(found)}, and {lost}" if lost else _tables(found)
        question = f"Delete all events of stream {found.name} at {redacted(url)}{also}?"
        click.confirm(question, abort=True, err=True)

    async def work(scripts: Scripts) -> int:
        return await admin.delete_stream(scripts, found.spec)

    deleted = with_scripts(url, work)
    report(f"deleted {found.name}: {deleted} event{'' if deleted == 1 else 's'}")
    if lost:
        report(f"dropped {lost}")


def _tables(found: Stream[Any]) -> str:
    """The tables that the app has for the stream, for a question."""
    app = found.app
    if not isinstance(app, App):
        return ""
    names = [each.name for each in app.tables.values() if each.stream is found.spec]
    if not names:
        return ""
    return f", with the table{'s' if len(names) > 1 else ''} {', '.join(names)}"
