"""The options of ``runnel worker --exec``. Imports nothing that is slow: a supervisor needs it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class SidecarOptions:
    """What `--exec` and the options that go with it say. Times are in seconds."""

    command: tuple[str, ...]
    app: str
    stream: str
    processor: str
    key: str | None
    tables: tuple[str, ...]
    policy: str
    retries: int | None
    start: str
    concurrency: int
    batch: int
    handlers: int
    timeout: float


#: Parameter of the command -> field.
_FIELDS = {
    "exec_": "command",
    "app_name": "app",
    "stream_name": "stream",
    "processor_name": "processor",
    "table_names": "tables",
    "key_field": "key",
    "handler_timeout": "timeout",
}


def _command(ctx: click.Context, param: click.Parameter, given: str | None) -> Any:
    """The words of a command. There is no shell, so that signals and stdin reach the program."""
    if given is None:
        return None
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise click.BadParameter(f"{given!r}: {error}", ctx, param) from error
    if not words:
        raise click.BadParameter("it names no program.", ctx, param)
    return given


class _Seconds(click.FloatRange):
    """Like `runnel.cli.numbers.Seconds`, whose module imports pydantic."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return number


_OPTIONS = (
    click.option(
        "--exec",
        "exec_",
        metavar="COMMAND",
        callback=_command,
        help="Let this program process the events of one stream, instead of a TARGET.",
    ),
    click.option("--app", "app_name", metavar="NAME", help="With --exec: the app."),
    click.option("--stream", "stream_name", metavar="NAME", help="With --exec: what is read."),
    click.option(
        "--processor",
        "processor_name",
        metavar="NAME",
        help="With --exec: the name that the checkpoints are stored under.",
    ),
    click.option(
        "--key",
        "key_field",
        metavar="FIELD",
        help="With --exec: the field of a record that is its partition key.",
    ),
    click.option(
        "--table",
        "table_names",
        metavar="NAME",
        multiple=True,
        help="With --exec: a table that the program writes. May be repeated.",
    ),
    click.option(
        "--policy",
        type=click.Choice(["quarantine", "park", "ignore", "halt"]),
        default="quarantine",
        show_default=True,
        help="With --exec: what happens to an event that has failed after its retries.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(0, 1_000_000),
        help="With --exec: how often a failing event is retried.  [default: 3]",
    ),
    click.option(
        "--start",
        type=click.Choice(["earliest", "latest"]),
        default="earliest",
        show_default=True,
        help="With --exec: where a new processor begins.",
    ),
    click.option(
        "--concurrency",
        type=click.IntRange(1, 10_000),
        default=1,
        show_default=True,
        help="With --exec: events of a partition that the program has at the same time, each of "
        "another key.",
    ),
    click.option(
        "--batch",
        type=click.IntRange(1, 1000),
        default=1,
        show_default=True,
        help="With --exec: the most events in one line.",
    ),
    click.option(
        "--handlers",
        type=click.IntRange(1, 1000),
        default=1,
        show_default=True,
        help="With --exec: so many processes of the program share the partitions.",
    ),
    click.option(
        "--handler-timeout",
        type=_Seconds(0.1, 86_400),
        default=60.0,
        show_default=True,
        help="With --exec: seconds without a result for its oldest event after which the program "
        "is killed.",
    ),
)


def options(command: F) -> F:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def taken(ctx: click.Context, given: dict[str, Any]) -> SidecarOptions | None:
    """What the options say, taken out of `given`; None without --exec. Exits with 2 if one of them
    is missing, or given without --exec."""
    values: dict[str, Any] = {}
    for each in fields(SidecarOptions):
        name = next((param for param, field in _FIELDS.items() if field == each.name), each.name)
        values[each.name] = given.pop(name)
        source = ctx.get_parameter_source(name)
        if given_here(source) and ctx.params["exec_"] is None:
            raise click.UsageError(f"--{_shown(name)} goes with --exec.", ctx)
    if values["command"] is None:
        return None
    if missing := [each for each in ("app", "stream", "processor") if not values[each]]:
        raise click.UsageError(f"--exec needs --{' and --'.join(missing)} too.", ctx)
    return SidecarOptions(**{**values, "command": tuple(shlex.split(values["command"]))})


def given_here(source: object) -> bool:
    """Was an option given on the command line?"""
    return source is click.core.ParameterSource.COMMANDLINE


def _shown(name: str) -> str:
    short = name.removesuffix("_name").removesuffix("_names").removesuffix("_field").strip("_")
    return short.replace("_", "-")
