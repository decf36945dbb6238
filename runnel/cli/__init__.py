"""The command line: its group of commands, each of which is imported when it is used."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

from runnel.cli import exits
from runnel.errors import RunnelError

__all__ = ["main"]

#: Command -> its module, and what it does in one line. A command is imported when it is used:
#: redis and pydantic take ten times as long to import as this module.
COMMANDS = {
    "worker": ("worker", "Process the events of an app."),
    "send": ("send", "Send one RECORD, given as JSON, to a stream."),
    "sendmany": ("send", "Send the JSON lines of FILE to a stream."),
    "tail": ("tail", "Show the newest events of a stream, and with --follow those that come."),
    "show": ("show", "Show one event, and which processors are past it."),
    "partition": ("show", "Show which partition has the events of a key."),
    "inspect": ("inspect", "Show processors, partitions, members and streams."),
    "check": ("check", "Tell by exit code whether all is well, for probes and alarms."),
    "processor": (
        "processor",
        "Administer a processor: add, reset, pause, resume, acknowledge, dead-letters, remove.",
    ),
    "dead": ("dead", "Administer what processors set aside: list, show, replay, drop."),
    "delayed": ("delayed", "Administer events that are sent later: list, cancel."),
    "stream": ("stream", "Administer a stream: create, list, show, trim, delete."),
    "table": (
        "table",
        "Read and administer tables: list, get, scan, export, clear, snapshot, snapshots, "
        "restore, delete-snapshot.",
    ),
    "lua": ("lua", "Look at the Lua scripts: list, show, verify, acl."),
    "server": ("server", "Run a Redis-compatible server in the foreground."),
    "conformance": ("conformance", "Test a client in any language: run."),
    "doctor": ("doctor", "Look at settings, server and rights, and say what to change."),
    "init": ("init", "Write a small project: an app, its test, a compose file."),
    "completion": ("completion", "Print what makes a shell complete the words of runnel."),
    "demo": ("demo", "Process 26,483 real departures while workers join and die."),
}


class Commands(click.Group):
    """The group of commands. Reports any RunnelError of a command in one sentence."""

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run a command. Without `args`, the process is for this command only, and a worker may end
        it: `Context.obj` is True then."""
        return super().main(args, **{"obj": args is None, **extra})

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except RunnelError as error:
            exits.fail(str(error), exits.code_of(error))
        except KeyboardInterrupt:  # Wherever it was, such as in an import.
            sys.exit(exits.INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"runnel.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        near = difflib.get_close_matches(args[0], COMMANDS, 1)
        if near and args[0] not in COMMANDS:
            ctx.fail(f"No such command {args[0]!r}; did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [
            CompletionItem(name, help=does)
            for name, (_, does) in COMMANDS.items()
            if name.startswith(incomplete)
        ] + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=Commands,
    epilog=exits.epilog(
        "runnel worker example:app",
        "runnel send example:orders "
        '\'{"order_id": 1, "created_at": "2026-11-23T12:00:09Z", "amount": 99}\'',
        "runnel inspect example:app --watch",
        codes=exits.MEANINGS,
    )
    + '\n\b\nCompletion in bash: eval "$(runnel completion bash)"; see runnel completion --help.\n',
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "RUNNEL"},
)
@click.version_option(package_name="runnel", prog_name="runnel")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Ordered, distributed event processing on Redis Streams.

    TARGETs have the form module:attribute, such as example:app; the current directory is
    importable. Without code, APP/STREAM names a stream, and APP/STREAM@PROCESSOR a processor.
    `runnel COMMAND --help` has more.
    """
    _open_standard_streams()
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False


def _open_standard_streams() -> None:
    """Open /dev/null as stdin, stdout or stderr if it was closed before the start. Else a socket
    could get its number, and output would go there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Gets the lowest number, which is this one.
