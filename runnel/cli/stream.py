"""The command ``runnel stream delete``."""

from __future__ import annotations

import click

from runnel.cli import exits, urls
from runnel.cli.output import report
from runnel.cli.running import run
from runnel.cli.target import load_stream
from runnel.connection.connect import connect
from runnel.connection.url_text import redacted
from runnel.operations import admin
from runnel.preflight.checks import check_deletion
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts


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
    """Delete a stream with all its events and the checkpoints of its processors."""
    found = load_stream(target)
    url = redis_url or found.app.settings.redis_url
    if not yes:
        question = f"Delete all events of stream {found.name} at {redacted(url)}?"
        click.confirm(question, abort=True, err=True)

    async def work() -> int:
        client = connect(url)
        try:
            await check_server(client, url)
            scripts = Scripts(client)
            await check_deletion(scripts, found.spec, url)
            return await admin.delete_stream(scripts, found.spec)
        finally:
            await client.aclose()

    deleted = run(work(), url)
    report(f"deleted {found.name}: {deleted} event{'' if deleted == 1 else 's'}")
