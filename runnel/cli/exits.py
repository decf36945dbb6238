"""Exit codes and messages of commands. Imports nothing that is slow, because `--help` needs it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import click

from runnel.errors import (
    BurstBlocked,
    ConfigError,
    Full,
    HandlerExit,
    LifespanFailed,
    Mismatch,
    NotWriter,
    PartitionKeyError,
    RecordError,
    RunnelError,
    ServerError,
    Unforwarded,
)

OK = 0
UNEXPECTED = 1
USAGE = 2
UNREACHABLE = 3
MISMATCH = 4
REJECTED = 5
NO_VALUE = 6
LAG = 10
NOT_PROCESSING = 11
NO_MEMBER = 12
INCONCLUSIVE = 13
INTERRUPTED = 130


class Signalled(SystemExit):
    """A signal ends the process: user code that is imported meanwhile has no part in that."""


#: What each of them means.
MEANINGS = {
    OK: "ok",
    UNEXPECTED: "unexpected error",
    USAGE: "wrong usage, or the app cannot be imported",
    UNREACHABLE: "Redis cannot be reached or used",
    MISMATCH: "stream or protocol differ from what Redis holds",
    REJECTED: "input was rejected",
    NO_VALUE: "there is no value for the key, or no event with the id",
    LAG: "limit for lag or dead letters exceeded",
    NOT_PROCESSING: "a partition is unassigned, quarantined, paused, stalled or failing, or has "
    "lost, parked, postponed or overdue events, or its commits wait for room; a stream is full or "
    "read by nobody, or the server's clock was set back",
    NO_MEMBER: "too few live members",
    INTERRUPTED: "interrupted",
}
#: Those of a command that does not ask Redis, and of one that does.
LOCAL = (OK, UNEXPECTED, USAGE)
ASKS = (*LOCAL, UNREACHABLE, MISMATCH, INTERRUPTED)


def epilog(*examples: str, codes: Iterable[int] = ASKS) -> str:
    """The end of a command's help: examples, then the exit codes that it can have. A group of
    commands has none."""
    lines = "\n".join(f"  $ {each}" for each in examples)
    shown = f"\b\nExample{'s' if len(examples) > 1 else ''}:\n{lines}\n"
    rows = [row for code in sorted(codes) for row in _row(code)]
    return "\n".join([shown, "\b", "Exit codes:", *rows, ""]) if rows else shown


def _row(code: int) -> list[str]:
    return textwrap.wrap(
        MEANINGS[code], 79, initial_indent=f"  {code:<4}", subsequent_indent=" " * 6
    )


#: Error class and exit code; the first class that fits counts.
_CODES: list[tuple[type[RunnelError], int]] = [
    (ServerError, UNREACHABLE),
    (BurstBlocked, NOT_PROCESSING),
    (Mismatch, MISMATCH),
    (NotWriter, MISMATCH),
    (Unforwarded, REJECTED),
    (RecordError, REJECTED),
    (PartitionKeyError, REJECTED),
    (Full, REJECTED),
    (ConfigError, USAGE),
    (RunnelError, UNEXPECTED),
]


def code_of(error: RunnelError) -> int:
    """The exit code for an error."""
    if isinstance(error, HandlerExit):
        return error.code
    if isinstance(error, LifespanFailed) and isinstance(error.__cause__, RunnelError):
        error = error.__cause__
    return next(code for kind, code in _CODES if isinstance(error, kind))


class Failed(SystemExit):
    """The end of a command by an error that was written."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(code)
        self.message = message


def fail(message: str, code: int) -> NoReturn:
    """Write an error to stderr and exit."""
    if as_json:
        as_json(message, "error", {"exit": code})
    else:
        click.echo(f"error: {message}", err=True)
    raise Failed(message, code)


def say(message: str, level: str = "info", **fields: Any) -> None:
    """Write a message to stderr, at every log level."""
    if as_json:
        as_json(message, level, fields)
    else:
        click.echo(message, err=True)


#: Writes a message with its level and fields as a JSON line; None without --log-format json.
as_json: Callable[[str, str, dict[str, Any]], None] | None = None
