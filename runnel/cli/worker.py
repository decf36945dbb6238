"""The command ``runnel worker``. Imports nothing that is slow: a supervisor needs only this."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import click

from runnel.cli import exits, logs, probes, reloading, sidecar_options, urls
from runnel.cli.supervisor import Supervisor

#: Options that concern the supervisor, and no single worker.
_OF_SUPERVISOR = {"target", "processes", "reload", "reload_dir", "name", "supervised"}

_WHAT = (
    "give a TARGET such as example:app; or, for a handler in another language, --exec with --app, "
    "--stream and --processor"
)


def _names(ctx: click.Context, param: click.Parameter, given: str | None) -> list[str]:
    """The names in a list. An empty list is an error: an unset variable of a shell script must not
    mean all processors."""
    names = [each for each in (given or "").split(",") if each]
    if given is not None and not names:
        raise click.BadParameter(
            "it names no processor; omit the option for all of them.", ctx, param
        )
    return names


class Processes(click.IntRange):
    """How many processes: a number, or "auto" for that of the processors of the machine."""

    def __init__(self) -> None:
        super().__init__(1, 1000)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        if value == "auto":
            return len(os.sched_getaffinity(0))
        number: int = super().convert(value, param, ctx)
        return number


@click.command(
    epilog=exits.epilog(
        "runnel worker example:app",
        "runnel worker example:app --embedded --log-level debug",
        "runnel worker example:app --processes auto",
        "runnel worker example:app --reload",
        "runnel worker --exec './handler' --app shop --stream orders --processor billing",
        codes=(*exits.ASKS, exits.REJECTED, exits.NOT_PROCESSING),
    )
)
@click.argument("target", required=False)
@click.option(
    "--processors",
    metavar="A,B",
    callback=_names,
    help="Only these processors, separated by commas.",
)
@urls.option
@click.option("--embedded", is_flag=True, help="Start a server if none listens at the URL.")
@click.option(
    "--burst", is_flag=True, help="Exit when all events that exist at the start are committed."
)
@click.option(
    "--processes",
    type=Processes(),
    metavar="N|auto",
    help="Start so many workers, each in a process, and start those again that die; `auto`: one "
    "for each core.",
)
@click.option(
    "--reload", is_flag=True, help="For development: start again when a Python file changes."
)
@click.option(
    "--reload-dir",
    multiple=True,
    type=click.Path(exists=True, file_okay=False),
    help="A directory to watch for --reload, instead of that of the app. May be repeated.",
)
@click.option(
    "--shutdown-timeout", type=float, help="Seconds to finish current events after SIGTERM."
)
@click.option(
    "--name",
    help="A stable member id: a restart within the session timeout moves no partition. With "
    "--processes, -1, -2, … are added.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Answer probes at http://*:PORT/healthz and /readyz, and serve /metrics for Prometheus; "
    "0: any free port.",
)
@click.option(
    "--health-host",
    default="",
    metavar="HOST",
    help="The address for --health-port; by default all addresses of the machine, since the probes "
    "of Kubernetes come from outside.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Log what is as serious as this, or more.",
)
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="console",
    show_default=True,
    help="Lines for people, or an object in each line.",
)
@sidecar_options.options
@click.option("--supervised", hidden=True, help="What the supervisor of this process gives it.")
@click.pass_context
def worker(ctx: click.Context, /, **options: Any) -> None:
    """Process the events of an app.

    Runs until SIGTERM or Ctrl-C. Then it takes no new events, finishes the current ones, commits,
    releases its partitions and exits with 0. After --shutdown-timeout it cancels what still runs
    and names it; a second later the process ends in any case. A second signal ends it at once.

    With --processes, a supervisor passes signals on, starts a process again that has died, after
    0.5 to 30 seconds, and ends with the worst exit code of its processes. If all of them fail at
    the start, it ends. If it is killed, its processes end as on SIGTERM.

    With --health-port, /healthz answers 503 when the event loop has been blocked for longer than
    the setting max_block, and /readyz unless the worker processes events: its startup functions
    have returned, Redis answers, it is a member of its groups, and it does not end. The body says
    why. /metrics counts what the worker does, if runnel[metrics] is installed. With --processes,
    all of them count.

    With --exec, no Python code is needed: a program in any language gets the events of one stream
    as JSON lines on its stdin, and says on its stdout what becomes of each. docs/sidecar.md
    describes the lines, with programs to copy.
    """
    processes, reload = options["processes"], options["reload"]
    sidecar = sidecar_options.taken(ctx, options)
    if (options["target"] is None) is (sidecar is None):
        raise click.UsageError(_WHAT, ctx)
    if sidecar is not None and (reload or options["processors"] or options["embedded"]):
        raise click.UsageError("--reload, --processors and --embedded go with a TARGET.", ctx)
    if options["supervised"] is None and (processes is not None or reload):
        sys.exit(_supervise(ctx, processes or 1, reload))
    if options["reload_dir"] and not reload:
        raise click.UsageError("--reload-dir goes with --reload.", ctx)
    from runnel.cli import own_worker

    if options["health_host"] and options["health_port"] is None:
        raise click.UsageError("--health-host goes with --health-port.", ctx)
    for name in ("processes", "reload", "reload_dir"):
        del options[name]
    own_worker.run(
        own_worker.Options(
            **options,
            sidecar=sidecar,
            level_given=_is_given(ctx, "log_level"),
            format_given=_is_given(ctx, "log_format"),
            own=bool(ctx.obj),
        )
    )


def _is_given(ctx: click.Context, option: str) -> bool:
    """Was an option given on the command line?"""
    return ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def _supervise(ctx: click.Context, count: int, reload: bool) -> int:
    """Run worker processes. Returns the exit code."""
    given = ctx.params
    logs.begin(given["log_format"])
    logs.configure(given["log_level"], given["log_format"], level_given=True, style_given=True)
    target = [] if given["target"] is None else [given["target"]]
    common = [sys.executable, "-m", "runnel", "worker", *target, *_passed_on(ctx)]
    name = given["name"]

    def command_of(number: int) -> list[str]:
        if name is None:
            return common
        return [*common, "--name", name if count == 1 else f"{name}-{number}"]

    supervisor = Supervisor(count, command_of, restart=not given["burst"], reload=reload)
    if reload:
        folders = reloading.directories(given["target"], given["reload_dir"])
        reloading.watch(folders, supervisor.changed)
        exits.say(
            f"for development: starts again when a Python file changes in "
            f"{', '.join(map(str, folders))}"
        )
    if given["health_port"] is not None:
        host, port = given["health_host"], given["health_port"]
        probes.answer(host, port, supervisor.health, supervisor.metrics)
    if count > 1:
        exits.say(f"{count} processes, supervised by process {os.getpid()}", pid=os.getpid())
    return supervisor.run()


def _passed_on(ctx: click.Context) -> Iterator[str]:
    """The options of the command line that each worker gets, too. It has the same environment."""
    for option in ctx.command.params:
        name = option.name or ""
        if name in _OF_SUPERVISOR or not _is_given(ctx, name):
            continue
        value = ctx.params[name]
        for each in value if isinstance(value, tuple) else (value,):
            yield option.opts[0]
            if not (isinstance(option, click.Option) and option.is_flag):
                yield ",".join(each) if isinstance(each, list) else str(each)
