"""``runnel worker``."""

from __future__ import annotations

import gc
import signal
import sys
from typing import Any

import click
from redis.exceptions import RedisError

from runnel.app import App
from runnel.cli import exits, logs, urls
from runnel.cli.running import run_on, verdict
from runnel.cli.target import load_app
from runnel.connection.url_text import redacted
from runnel.errors import RunnelError
from runnel.preflight.server import ServerInfo
from runnel.protocol.scripts import version


def _names(ctx: click.Context, param: click.Parameter, given: str | None) -> list[str]:
    """The names in a list, which may not be empty: a script's unset variable would mean all."""
    names = [each for each in (given or "").split(",") if each]
    if given is not None and not names:
        raise click.BadParameter("it names none; leave it out for all of them.", ctx, param)
    return names


@click.command(
    epilog=exits.epilog(
        "runnel worker example:app", "runnel worker example:app --embedded --log-level debug"
    )
)
@click.argument("target")
@click.option(
    "--processors", metavar="A,B", callback=_names, help="Only these, separated by commas."
)
@urls.option
@click.option("--embedded", is_flag=True, help="Start a server at the URL if none listens there.")
@click.option("--burst", is_flag=True, help="Exit when all that is there at the start is done.")
@click.option(
    "--shutdown-timeout", type=float, help="Seconds to finish what is in hand on SIGTERM."
)
@click.option("--name", help="A stable member id: a restart within the session moves nothing.")
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

    Runs until SIGTERM or Ctrl-C: then it takes no new events, finishes what is in hand, commits,
    hands its partitions back and exits 0. What is not finished within --shutdown-timeout is cut off
    and named; a second later the process is gone, whatever it runs. A second signal ends it at
    once."""
    own = bool(click.get_current_context().obj)
    if own:
        # Until there is something to finish. As process 1 of a container it would be ignored.
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
                f"started a server at {redacted(url)} (data in .runnel); it goes on when this "
                f"worker ends: `kill {server.pid}` stops it"
            )
    _calm_the_garbage_collector()
    _run(app, processors, name, burst, own)


def _is_given(option: str) -> bool:
    """Whether an option was typed."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def _calm_the_garbage_collector() -> None:
    """What was imported stays, and events come and go by the thousand without forming cycles: to
    look for those as often as Python does by default takes up to a third of a busy worker's time.
    An app that has set its own thresholds keeps them."""
    gc.freeze()
    if gc.get_threshold()[0] < 10_000:
        gc.set_threshold(50_000, 20, 50)


def _run(app: App, names: list[str], name: str | None, burst: bool, own: bool) -> None:
    """Run a worker to its end. `own` says that the process is for nothing else."""
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
        shutdown.because(exits.OK)

    try:
        run_on(serve(), url, work.end_because)
    finally:
        shutdown.close()


def _code(error: BaseException | None, url: str) -> int:
    """The exit code of a worker that ends for this."""
    if error is None:
        return exits.OK
    if isinstance(error, (RunnelError, RedisError, OSError)):
        return verdict(error, url)[1]
    return exits.UNEXPECTED
