"""The command line: arguments in, exit code out."""

from __future__ import annotations

from importlib.metadata import version

import click

from runnel.cli import exits
from runnel.cli.demo import demo
from runnel.cli.inspect import inspect
from runnel.cli.processor import processor
from runnel.cli.send import send, sendmany
from runnel.cli.server import server
from runnel.cli.stream import stream
from runnel.cli.worker import worker
from runnel.errors import ConfigError

__all__ = ["main"]


class Commands(click.Group):
    """A wrong declaration or setting ends in one sentence, wherever it comes to light."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ConfigError as error:
            exits.fail(str(error), exits.USAGE)


@click.group(
    cls=Commands,
    epilog=exits.EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RUNNEL"},
)
@click.version_option(version("runnel"), prog_name="runnel")
def main() -> None:
    """Ordered, distributed event processing on Redis Streams.

    TARGETs have the form module:attribute, such as example:app; the current directory is
    importable.
    """


for command in (worker, send, sendmany, inspect, processor, stream, server, demo):
    main.add_command(command)
