"""Finds the stream that a command looks at: in the code, or without code in the registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from runnel.app import App
from runnel.cli import exits
from runnel.cli.target import load_app, load_stream, near
from runnel.cli.urls import REDIS_URL
from runnel.connection.environment import url_of_environment
from runnel.operations.readable import Reader
from runnel.operations.stream_from_registry import stream_from_registry
from runnel.protocol.scripts import Scripts
from runnel.stream import Stream, StreamSpec

F = TypeVar("F", bound=Callable[..., Any])

#: APP/STREAM, which needs no code.
_WITHOUT_CODE = re.compile(r"([^/:@]+)/([^/:@]+)(?<!\.py)")
_HOW = (
    "give a TARGET such as example:orders; or, without its code, APP/STREAM, such as myapp/orders, "
    "with --redis-url: `runnel inspect --redis-url URL` lists both"
)


def options(command: F) -> F:
    """The options with which a command finds its stream: `redis_url`, `app_name`, `stream_name`."""
    for option in (
        click.option("--stream", "stream_name", help="A stream by its name, with --app or an app."),
        click.option("--app", "app_name", help="The app, if no TARGET is given."),
        click.option(
            "--redis-url",
            type=REDIS_URL,
            help="URL of Redis, instead of the one of the app, or of RUNNEL_REDIS_URL.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Chosen:
    """A stream that the command line names. `stream` is None if its code is not here."""

    url: str
    app: str
    name: str
    stream: Stream[Any] | None

    async def spec(self, scripts: Scripts) -> StreamSpec[Any]:
        """The declaration of the stream. Raises ConfigError if the registry does not know it."""
        if self.stream is not None:
            return self.stream.spec
        return await stream_from_registry(scripts, self.app, self.name)

    def reader(self, spec: StreamSpec[Any]) -> Reader:
        """Reads its events."""
        declared: Mapping[str, StreamSpec[Any]] | None = None
        if self.stream is not None:
            declared = {each.name: each.spec for each in self.stream.app.streams.values()}
        return Reader(spec, declared)


def choose(
    target: str | None, redis_url: str | None, app_name: str | None, stream_name: str | None
) -> Chosen:
    """The stream that the arguments name. Exits with code 2 if they name none."""
    if target and app_name:
        raise click.UsageError("give a TARGET or --app, not both")
    if target and (found := _WITHOUT_CODE.fullmatch(target)):
        if stream_name:
            raise click.UsageError(f"{target} names the stream: leave --stream out")
        app_name, stream_name, target = *found.groups(), None
    if target:
        stream = load_stream(target) if stream_name is None else _of_app(target, stream_name)
        url = redis_url or stream.app.settings.redis_url
        return Chosen(url, stream.spec.app, stream.name, stream)
    if not app_name or not stream_name:
        raise click.UsageError(_HOW)
    # As every app does without code: from the environment, or on this machine.
    url = redis_url or url_of_environment() or App(app_name).settings.redis_url
    return Chosen(url, app_name, stream_name, None)


def split(
    words: Sequence[str], number: int, app_name: str | None, names: str
) -> tuple[str | None, Sequence[str]]:
    """The target, if there is one, and the other arguments."""
    if len(words) == number + 1:
        return words[0], words[1:]
    if len(words) == number and app_name is not None:
        return None, words
    raise click.UsageError(
        f"give TARGET {names}, such as example:orders; or, without its code, APP/STREAM {names} "
        "with --redis-url, such as myapp/orders"
    )


def _of_app(target: str, name: str) -> Stream[Any]:
    app = load_app(target)
    if name in app.streams:
        return app.streams[name]
    names = sorted(app.streams)
    hint = near(name, names) or f"; there is {', '.join(names) or 'none'}"
    exits.fail(f"{target} has no stream {name!r}{hint}", exits.USAGE)
