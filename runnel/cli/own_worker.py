"""Runs a worker in this process, which exits when it ends."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from runnel.app import App
from runnel.cli import exits, logs
from runnel.cli.running import explained, run_on
from runnel.cli.supervised import Supervisor
from runnel.cli.target import load_app
from runnel.connection.url_text import redacted
from runnel.errors import RunnelError
from runnel.preflight.server import ServerInfo
from runnel.protocol.scripts import version
from runnel.worker.shutdown import Shutdown
from runnel.worker.worker import Worker


@dataclass(frozen=True)
class Options:
    """The options of `runnel worker` for one worker. `own`: is the process only for this worker?"""

    target: str
    processors: list[str]
    redis_url: str | None
    embedded: bool
    burst: bool
    shutdown_timeout: float | None
    name: str | None
    log_level: str
    log_format: str
    level_given: bool
    format_given: bool
    supervised: str | None
    own: bool


def run(options: Options) -> None:
    """Run a worker to its end. Exits, unless all is well."""
    if options.own:
        # Until the worker runs. Without a handler, process 1 of a container ignores signals.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(exits.OK))
        signal.signal(signal.SIGINT, lambda number, frame: sys.exit(exits.INTERRUPTED))
    logs.begin(options.log_format)
    supervisor = Supervisor(options.supervised) if options.supervised else None
    app = load_app(options.target)
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
                f"started a server at {redacted(url)} (data in .runnel); it keeps running when "
                f"this worker ends: `kill {server.pid}` stops it"
            )
    _tune_garbage_collector()
    _run(app, options, supervisor)


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
        shutdown.close()


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
