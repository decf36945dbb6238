"""Runs commands: in this process where that proves the same, because a new one takes half a
second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from runnel.cli import main
from tests.site.commands_page import exit_codes_of

ROOT = Path(__file__).parent.parent.parent
GOOD = '{"order_id": 1, "created_at": "2026-11-23T12:00:09Z", "amount": 99}'


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


def listed(arguments: Sequence[str], code: int, said: str) -> None:
    """The help of the command that was run lists the exit code that it had. Errors of one of the
    words that name it are those of its group."""
    command: click.Command = main
    for word in arguments:
        if not isinstance(command, click.Group):
            break
        inner = command.get_command(click.Context(command), word)
        if inner is None:
            return
        command = inner
    if isinstance(command, click.Group):
        return
    # These are the exit codes of Nagios, or what user code has chosen.
    asked = "--nagios" in arguments or "sys.exit(" in said
    assert asked or str(code) in exit_codes_of(command), (arguments, code)


@pytest.fixture
def run(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process, on the shared server or at `url`; None gives it no URL."""
    monkeypatch.chdir(ROOT)

    def command(
        *arguments: str, url: str | None = redis_url, stdin: str | bytes = "", color: bool = False
    ) -> Done:
        # The module of an app reads the environment when it is imported.
        for name in [each for each in sys.modules if each.startswith("tests.cli.shop")]:
            del sys.modules[name]
        done = CliRunner().invoke(
            main,
            arguments,
            input=stdin,
            env={"RUNNEL_REDIS_URL": url},
            prog_name="runnel",
            color=color,
        )
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        listed(arguments, done.exit_code, done.stderr)
        return Done(done.exit_code, done.stdout, done.stderr)

    return command


@pytest.fixture
def spawn(redis: Redis, redis_url: str) -> Run:
    """Runs a command in a process of its own, to its end."""

    def command(
        *arguments: str,
        url: str = redis_url,
        stdin: str = "",
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "runnel", *arguments],
            cwd=cwd,
            env={**os.environ, "RUNNEL_REDIS_URL": url, "PYTHONPATH": str(ROOT), **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=40,
        )
        listed(arguments, done.returncode, done.stderr)
        return Done(done.returncode, done.stdout, done.stderr)

    return command


@pytest.fixture
def admin(redis_url: str) -> Iterator[SyncRedis]:
    """The server's owner, between commands."""
    with SyncRedis.from_url(redis_url) as client:
        yield client
