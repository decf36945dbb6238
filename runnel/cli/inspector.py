"""Makes the reports of `runnel inspect` and `runnel check`. Imports the code of an app only for a
TARGET that names a module: that is slow."""

from __future__ import annotations

import os
import traceback
from typing import Any, NamedTuple, Protocol

import click

from runnel.cli import exits
from runnel.cli.event_loop import Runner
from runnel.cli.names import Names
from runnel.cli.running import reporting_errors
from runnel.connection.connect import connect
from runnel.connection.environment import DEFAULT, VARIABLE, url_of_environment
from runnel.connection.url_text import Url, redacted
from runnel.operations import inspection
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts

Json = dict[str, Any]


class Look(NamedTuple):
    """What of an app a report is about: everything, one processor, or one partition of it. `raw`
    also has the bytes of the event of that partition."""

    processor: str | None = None
    partition: int | None = None
    raw: bool = False


def choose(
    target: str | None, redis_url: str | None, app_name: str | None
) -> tuple[str, DeclaredApp | None]:
    """The URL of Redis, and the app of the target if there is one. Raises click.UsageError."""
    if target and app_name:
        raise click.UsageError("give a TARGET or --app, not both")
    app: DeclaredApp | None = None
    if target:
        app = _imported(target)
    elif any(each.startswith("RUNNEL_") and each != VARIABLE for each in os.environ):
        from runnel.settings import warn_of_unknown  # Which is slow to import.

        warn_of_unknown(lambda text: exits.say(text, "warning"))
    return redis_url or (app.redis_url if app else url_of_environment() or DEFAULT), app


def _imported(target: str) -> DeclaredApp:
    """The app of a target. Exits with code 2 if it cannot be imported, however its import ends: the
    codes of a verdict are not for an app to choose."""
    from runnel.cli import declared

    try:
        return declared.DeclaredApp(target)
    except exits.Failed as failed:
        raise exits.Failed(failed.message, exits.USAGE) from None
    except (Exception, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        exits.say(traceback.format_exc(), "error")
        kind = type(error).__name__
        exits.fail(f"importing {target.partition(':')[0]} ended with {kind}", exits.USAGE)


def assumed(url: str) -> str:
    """Which Redis it is, if nobody has said it, for the end of a line; else empty."""
    by_default = isinstance(url, Url) and not url.origin
    return f", at {redacted(url)}, the default" if by_default else ""


class DeclaredApp(Protocol):
    """An app whose code is here. `processor` is set if the target names one of its processors."""

    name: str
    redis_url: str
    names: Names
    processor: str | None

    async def declared(self, scripts: Scripts, url: str) -> inspection.Declared:
        """What the code declares. Raises Mismatch if Redis holds another declaration."""
        ...

    def streams(self) -> dict[str, Any]:
        """The specifications of its streams, by name."""
        ...


class Inspector:
    """Makes reports of one app or of all, over one client."""

    def __init__(
        self,
        url: str,
        app: DeclaredApp | None,
        app_name: str | None,
        stalled_after_ms: int,
        look: Look = Look(),  # noqa: B008 - It is immutable.
    ) -> None:
        self.url = url
        self._app = app
        self._app_name = app.name if app else app_name
        self._stalled_after_ms = stalled_after_ms
        self.look = look
        self.client = connect(url)

    def once(self) -> Json:
        """One report. Errors end the process."""
        with reporting_errors(self.url), Runner() as loop:
            try:
                return loop.run(self.inspect())
            finally:
                loop.run(self.close())

    async def inspect(self) -> Json:
        """A report. Raises ServerError, Mismatch, ConfigError, redis-py's errors or OSError."""
        server = await check_server(self.client, self.url)
        scripts = Scripts(self.client)
        declared = inspection.Declared()
        if self._app:
            declared = await self._app.declared(scripts, self.url)
        elif self._app_name:
            await inspection.check_app(self.client, self._app_name, self.url)
        look, limit = self.look, self._stalled_after_ms
        seen = await inspection.inspect(
            self.client, server, self._app_name, declared, limit, look.processor
        )
        if look.partition is not None:
            seen["partition"] = await self.look_at(seen, look.partition)
        return seen

    async def look_at(self, seen: Json, number: int) -> Json:
        """What is to be seen of a partition of the only processor in a report. Raises ConfigError
        if there is no such partition, redis-py's errors or OSError."""
        from runnel.operations import one_partition  # Imports records, which is slow.

        known, limit = self._app.streams() if self._app else None, self._stalled_after_ms
        scripts = Scripts(self.client)
        return await one_partition.look(scripts, seen, number, known, limit, self.look.raw)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()
