"""The option --redis-url of commands."""

from __future__ import annotations

from typing import Any

import click

from runnel.cli import exits
from runnel.connection.url_text import Url
from runnel.errors import ConfigError


class _RedisURL(click.ParamType):  # type: ignore[type-arg]
    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Url:
        from runnel.connection.url import check_url  # Imports redis, which takes long.

        try:
            return Url(check_url(str(value)), "--redis-url")
        except ConfigError as error:
            exits.fail(f"--redis-url: {error}", exits.USAGE)


REDIS_URL = _RedisURL()

#: For commands that have an app, or the app of a stream or processor.
option = click.option(
    "--redis-url", type=REDIS_URL, help="URL of Redis, instead of the one of the app."
)
