"""Runs a worker in this process, which exits when it ends."""

from __future__ import annotations

import asyncio
import gc
import io
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from redis.exceptions import RedisError

from runnel.app import App
from runnel.cli import exits, logs, probes
from runnel.cli.http_server import Reply
from runnel.cli.running import explained, run_on
from runnel.cli.sidecar_options import SidecarOptions
from runnel.cli.supervised import Supervisor
from runnel.cli.target import load_app
from runnel.cli.worker_figures import Figures, page
from runnel.connection.url_text import redacted
from runnel.errors import RunnelError
from runnel.metrics.counting import Counting
from runnel.metrics.tally import Tally
from runnel.preflight.server import ServerInfo
from runnel.protocol.scripts import version
from runnel.worker.shutdown import Shutdown
from runnel.worker.worker import Worker


@dataclass(frozen=True)
class Options:
    """The options of `runnel worker` for one worker. `own`: is the process only for this worker?"""

    target: str | None
    processors: list[str]
    redis_url: str | None
    embedded: bool
    burst: bool
    shutdown_timeout: float | None
    name: str | None
    health_port: int | None
    health_host: str
    log_level: str
    log_format: str
    level_given: bool
    format_given: bool
    supervised: str | None
    own: bool
    sidecar: SidecarOptions | None = None


def _ended_with(code: int) -> Callable[[int, FrameType | None], None]:
    """A handler of a signal that ends the process, wherever it is."""

    def received(number: int, frame: FrameType | None) -> None:
        raise exits.Signalled(code)

    return received


def run(options: Options) -> None:
    """Run a worker to its end. Exits, unless all is well."""
    if options.own:
        # Until the worker runs. Without a handler, process 1 of a container ignores signals.
        signal.signal(signal.SIGTERM, _ended_with(exits.OK))
        signal.signal(signal.SIGINT, _ended_with(exits.INTERRUPTED))
    logs.begin(options.log_format)
    _show_prints_at_once()
    supervisor = Supervisor(options.supervised) if options.supervised else None
    app = _app(options)
    logs.configure(
        options.log_level,
        options.log_format,
        level_given=options.level_given,
        style_given=options.format_given,
    )
    settings: dict[str, Any] = {
        "redis_url": options.redis_url,
        "shutdown_timeout": options.shutdown_timeout,
    }
    app.configure(**{key: value for key, value in settings.items() if value is not None})
    url = app.settings.redis_url
    if options.embedded:
        from runnel.embedded.local_server import start

        server = start(url)
        if server.pid is not None:
            exits.say(
                f"started a server at {redacted(url)} (data in {Path('.runnel').resolve()}); it "
                f"keeps running when this worker ends: `kill {server.pid}` stops it"
            )
    _tune_garbage_collector()
    _run(app, options, supervisor)


def _show_prints_at_once() -> None:
    """What handlers print to a file or a pipe appears line by line, as on a terminal, and is not
    lost if the worker is killed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def _app(options: Options) -> App:
    """The app of the target, or that of the sidecar, whose streams Redis knows."""
    if options.sidecar is None:
        assert options.target is not None
        return load_app(options.target)
    from runnel.cli.sidecar_worker import make_app

    return make_app(options.sidecar, options.redis_url)


def _tune_garbage_collector() -> None:
    """Make collections rare: with Python's defaults they take up to a third of a busy worker's
    time. Imported modules stay, and events, of which there are thousands, form no cycles.
    Thresholds that the app has set stay."""
    gc.freeze()
    if gc.get_threshold()[0] < 10_000:
        gc.set_threshold(50_000, 20, 50)


def _run(app: App, options: Options, supervisor: Supervisor | None) -> None:
    url, timeout = app.settings.redis_url, app.settings.shutdown_timeout
    work = Worker(app, options.processors, options.name)
    if not work.processors and not app.tasks:
        exits.fail(f"app {app.name} declares no processors and no tasks", exits.USAGE)
    counted = None if options.health_port is None else _counted(app)
    if options.health_port is not None:
        _tell_health(work, (options.health_host, options.health_port), supervisor, counted)
    shutdown = Shutdown(timeout, work, force=options.own, supervised=supervisor is not None)
    work.on_end = lambda error: shutdown.because(_code(error, url))

    async def tell_ready() -> None:
        await work.started.wait()
        if supervisor is not None:
            supervisor.tell_ready(timeout)

    async def serve() -> None:
        shutdown.on_signals(work.stop.set)
        ready = asyncio.create_task(tell_ready())
        try:
            await work.run(burst=options.burst, ready=lambda info: _say(work, info))
        except BaseException as error:
            shutdown.because(_code(error, url))
            raise
        finally:
            ready.cancel()
            await app.close()
        shutdown.because(exits.OK)

    try:
        run_on(serve(), url, work.end_because)
    finally:
        if supervisor is not None and counted is not None:
            supervisor.tell_figures(lambda: _figures(work, counted).lines())
        shutdown.close()


def _counted(app: App) -> Counting | None:
    """What counts what the app does here; None without the package that shows it."""
    if find_spec("prometheus_client") is None:
        return None
    own = [each for each in app.observers if isinstance(each, Counting)]
    if not own:
        app.observe(made := Counting())
        return made
    return own[0]


def _figures(work: Worker, counted: Counting) -> Figures:
    return Figures(counted.tally.rows(), work.health().blocked, counted.build)


def _tell_health(
    work: Worker,
    address: tuple[str, int],
    supervisor: Supervisor | None,
    counted: Counting | None,
) -> None:
    """Answer probes and serve metrics, or tell the supervisor, which does."""

    def ask() -> probes.Answer:
        found = work.health()
        body = {"alive": found.alive, "ready": found.ready, "problems": list(found.problems)}
        body |= {"app": work.app.name, "member": work.member}
        return probes.Answer(found.alive, found.ready, body)

    def metrics() -> Reply:
        if counted is None:
            return page(Tally(), [])
        return page(counted.tally, [_figures(work, counted)])

    if supervisor is None:
        probes.answer(*address, ask, metrics)
        return

    def figures() -> Iterable[dict[str, Any]]:
        return () if counted is None else _figures(work, counted).lines()

    supervisor.tell_health(lambda: ask().body, figures)


def _say(work: Worker, info: ServerInfo) -> None:
    """The first line of a worker."""
    app, url = work.app, redacted(work.app.settings.redis_url)
    exits.say(
        f"runnel worker · app {app.name} · {info.kind} {info.version or '?'} at {url} · scripts "
        f"{version()} · processors {', '.join(each.name for each in work.processors)} · member "
        f"{work.member}",
        app=app.name,
        server=f"{info.kind} {info.version or '?'}",
        redis_url=url,
        scripts=version(),
        processors=[each.name for each in work.processors],
        member=work.member,
    )


def _code(error: BaseException | None, url: str) -> int:
    """The exit code of a worker that ends because of this error."""
    if error is None:
        return exits.OK
    if isinstance(error, (RunnelError, RedisError, OSError)):
        return explained(error, url)[1]
    return exits.UNEXPECTED
