"""The command ``runnel worker``."""

from __future__ import annotations

import gc
import signal
import sys
from typing import Any

import click
from redis.exceptions import RedisError

from runnel.app import App
from runnel.cli import exits, logs, urls
from runnel.cli.running import explained, run_on
from runnel.cli.target import load_app
from runnel.connection.url_text import redacted
from runnel.errors import RunnelError
from runnel.preflight.server import ServerInfo
from runnel.protocol.scripts import version


def _names(ctx: click.Context, param: click.Parameter, given: str | None) -> list[str]:
    """The names in a list. An empty list is an error: an unset variable of a shell script must not
    mean all processors."""
    names = [each for each in (given or "").split(",") if each]
    if given is not None and not names:
        raise click.BadParameter(
            "it names no processor; omit the option for all of them.", ctx, param
        )
    return names


@click.command(
    epilog=exits.epilog(
        "runnel worker example:app", "runnel worker example:app --embedded --log-level debug"
    )
)
@click.argument("target")
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
    "--shutdown-timeout", type=float, help="Seconds to finish current events after SIGTERM."
)
@click.option(
    "--name", help="A stable member id: a restart within the session timeout moves no partition."
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
)
@click.option(
    "--log-format", type=click.Choice(["console", "json"]), default="console", show_default=True
)
def worker(
    target: str,
    processors: list[str],
    redis_url: str | None,
    embedded: bool,
    burst: bool,
    shutdown_timeout: float | None,
    name: str | None,
    log_level: str,
    log_format: str,
) -> None:
    """Process the events of an app.

    Runs until SIGTERM or Ctrl-C. Then it takes no new events, finishes the current ones, commits,
    releases its partitions and exits with 0. After --shutdown-timeout it cancels what still runs
    and names it; a second later the process ends in any case. A second signal ends it at once.
    """
    own = bool(click.get_current_context().obj)
    if own:
        # Until the worker runs. Without a handler, process 1 of a container ignores signals.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(exits.OK))
        signal.signal(signal.SIGINT, lambda number, frame: sys.exit(exits.INTERRUPTED))
    given = {name: _is_given(name) for name in ("log_level", "log_format")}
    logs.begin(log_format)
    app = load_app(target)
    logs.configure(
        log_level, log_format, level_given=given["log_level"], style_given=given["log_format"]
    )
    settings: dict[str, Any] = {"redis_url": redis_url, "shutdown_timeout": shutdown_timeout}
    app.configure(**{key: value for key, value in settings.items() if value is not None})
    url = app.settings.redis_url
    if embedded:
        from runnel.embedded.local_server import start

        server = start(url)
        if server.pid is not None:
            exits.say(
                f"started a server at {redacted(url)} (data in .runnel); it keeps running when "
                f"this worker ends: `kill {server.pid}` stops it"
            )
    _tune_garbage_collector()
    _run(app, processors, name, burst, own)


def _is_given(option: str) -> bool:
    """Was an option given on the command line?"""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def _tune_garbage_collector() -> None:
    """Make collections rare: with Python's defaults they take up to a third of a busy worker's
    time. Imported modules stay, and events, of which there are thousands, form no cycles.
    Thresholds that the app has set stay."""
    gc.freeze()
    if gc.get_threshold()[0] < 10_000:
        gc.set_threshold(50_000, 20, 50)


def _run(app: App, names: list[str], name: str | None, burst: bool, own: bool) -> None:
    """Run a worker to its end. `own`: is the process only for this worker?"""
    from runnel.worker.shutdown import Shutdown
    from runnel.worker.worker import Worker

    url = app.settings.redis_url
    work = Worker(app, names, name)
    if not work.processors and not app.tasks:
        exits.fail(f"app {app.name} declares no processors and no tasks", exits.USAGE)
    shutdown = Shutdown(app.settings.shutdown_timeout, work, force=own)
    work.on_end = lambda error: shutdown.because(_code(error, url))

    def banner(info: ServerInfo) -> None:
        exits.say(
            f"runnel worker · app {app.name} · {info.kind} {info.version or '?'} at "
            f"{redacted(url)} · scripts {version()} · processors "
            f"{', '.join(each.name for each in work.processors)} · member {work.member}",
            app=app.name,
            server=f"{info.kind} {info.version or '?'}",
            redis_url=redacted(url),
            scripts=version(),
            processors=[each.name for each in work.processors],
            member=work.member,
        )

    async def serve() -> None:
        shutdown.on_signals(work.stop.set)
        try:
            await work.run(burst=burst, ready=banner)
        except BaseException as error:
            shutdown.because(_code(error, url))
            raise
        finally:
            await app.close()
        shutdown.because(exits.OK)

    try:
        run_on(serve(), url, work.end_because)
    finally:
        shutdown.close()


def _code(error: BaseException | None, url: str) -> int:
    """The exit code of a worker that ends because of this error."""
    if error is None:
        return exits.OK
    if isinstance(error, (RunnelError, RedisError, OSError)):
        return explained(error, url)[1]
    return exits.UNEXPECTED
