"""The command ``runnel doctor``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from redis.exceptions import RedisError

from runnel.app import App
from runnel.cli import exits
from runnel.cli.declared import declared_in
from runnel.cli.event_loop import Runner
from runnel.cli.inspector import Inspector
from runnel.cli.names import Names
from runnel.cli.output import report
from runnel.cli.running import explained
from runnel.cli.tables import table
from runnel.cli.target import load_app
from runnel.cli.urls import REDIS_URL
from runnel.connection.environment import url_of_environment
from runnel.connection.url_text import redacted
from runnel.errors import RunnelError
from runnel.operations import diagnosis, inspection
from runnel.operations.diagnosis import Finding
from runnel.preflight.checks import check_worker
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts, version
from runnel.settings import Settings

Json = dict[str, Any]


@click.command(
    epilog=exits.epilog(
        "runnel doctor example:app",
        "runnel doctor --redis-url redis://HOST",
        "runnel doctor --json",
    )
)
@click.argument("target", required=False)
@click.option("--redis-url", type=REDIS_URL, help="URL of Redis, instead of the one of the app.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def doctor(target: str | None, redis_url: str | None, as_json: bool) -> None:
    """Look at settings, server, permissions and state, and say what to change.

    With a TARGET, this shows each setting with its source, and checks what its workers may do. It
    writes nothing. Exits with 0 also if something could be better; with another code only if a
    worker could not start.
    """
    app = load_app(target) if target else None
    if app and redis_url:
        app.configure(redis_url=redis_url)
    url = redis_url or (app.settings.redis_url if app else url_of_environment())
    url = url or Settings.make().redis_url
    with Runner() as loop:
        found, code = loop.run(_examine(app, url, Names(redis_url=redis_url).at))
    if target:
        found = [each._replace(fix=each.fix.replace("MODULE:APP", target)) for each in found]
    settings = _settings(app, redis_url) if app else []
    if as_json:
        report(json.dumps(_as_json(settings, found, code)))
    else:
        report("\n".join(_lines(settings, found)))
    sys.exit(code)


async def _examine(app: App | None, url: str, at: str) -> tuple[list[Finding], int]:
    """What was found, and the exit code. Commands name the Redis by the option `at`."""
    inspector = Inspector(url, None, app.name if app else None, inspection.STALLED_AFTER)
    scripts = Scripts(inspector.client)
    found: list[Finding] = []
    try:
        server = await check_server(inspector.client, url)
        text = f"{server.kind} {server.version or '?'}, {server.mode}, at {redacted(url)}"
        found.append(Finding("server", True, text))
        clis = await diagnosis.redis_clis(scripts)
        found += [_warned(each, clis) for each in server.warnings]
        found += await diagnosis.of_servers(scripts)
        if app:
            warnings = await check_worker(scripts, app, app.processors.values(), url)
            found.append(
                Finding("permissions", True, "the Redis user may do all that a worker does")
            )
            found += [Finding("app", False, each) for each in warnings]
        found.append(Finding("scripts", True, f"this Runnel has the Lua scripts {version()}"))
        if app:
            declared = declared_in(app)
            seen = await inspection.inspect(inspector.client, server, app.name, declared)
            found += diagnosis.of_state(seen, frozenset(declared.processors), at)
        else:
            seen = await inspection.inspect(inspector.client, server)
            found += diagnosis.of_state(seen, None, at)
    except (RunnelError, RedisError, OSError) as error:
        message, code = explained(error, url)
        return [*found, Finding("error", False, message)], code
    finally:
        await inspector.close()
    return found, exits.OK


def _warned(warning: str, clis: list[str]) -> Finding:
    """What the check of the server warns of, which workers log, too."""
    eviction = warning.startswith("maxmemory-policy")
    fixes = [f"{each} CONFIG SET maxmemory-policy noeviction" for each in clis]
    fix = "\n".join(fixes) if eviction else ""
    return Finding("memory" if eviction else "server", False, warning, fix)


def _with_unit(name: str, value: Any) -> str:
    """A setting for people. Those that are no whole numbers are seconds."""
    if isinstance(value, float):
        return f"{value:,g} s"
    if isinstance(value, int):
        return diagnosis.megabytes(value) if name.endswith("_bytes") else f"{value:,}"
    return str(value)


def _settings(app: App, redis_url: str | None) -> list[tuple[str, Any, str]]:
    """Name, value and source of each setting."""
    found = []
    for name in Settings.model_fields:
        value = getattr(app.settings, name)
        source = app.settings.source_of(name)
        if name == "redis_url":
            value, source = redacted(value), "--redis-url" if redis_url else source
        found.append((name, value, source))
    return found


def _lines(settings: list[tuple[str, Any, str]], found: list[Finding]) -> list[str]:
    rows = [(name, _with_unit(name, value), source) for name, value, source in settings]
    lines = [*table("SETTING VALUE SOURCE", rows), ""] if rows else []
    for each in found:
        mark = click.style("ok", fg="green") if each.well else click.style("!!", fg="yellow")
        if each.subject == "error":
            mark = click.style("XX", fg="red")
        lines.append(f"{mark}  {each.subject}: {each.text}")
        lines += [f"      {line}" for line in each.fix.splitlines()]
    count = sum(1 for each in found if not each.well)
    if any(each.subject == "error" for each in found):
        return [*lines, "", "a worker could not start"]
    many = f"{count} thing{'' if count == 1 else 's'} could be better" if count else "all is well"
    return [*lines, "", many]


def _as_json(settings: list[tuple[str, Any, str]], found: list[Finding], code: int) -> Json:
    return {
        "exit": code,
        "settings": [
            {"name": name, "value": value, "source": source} for name, value, source in settings
        ],
        "findings": [
            {"subject": each.subject, "ok": each.well, "text": each.text, "fix": each.fix or None}
            for each in found
        ],
    }
