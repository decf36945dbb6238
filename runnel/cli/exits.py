"""Exit codes, and how a command says what is wrong. Imports nothing heavy: `--help` needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from runnel.errors import (
    BurstBlocked,
    ConfigError,
    Full,
    HandlerExit,
    Mismatch,
    PartitionKeyError,
    RecordError,
    RunnelError,
    ServerError,
)

OK = 0
UNEXPECTED = 1
USAGE = 2
UNREACHABLE = 3
MISMATCH = 4
REJECTED = 5
LAG = 10
NOT_PROCESSING = 11
NO_MEMBER = 12
INTERRUPTED = 130

EPILOG = """\b
Exit codes:
  0   ok
  1   unexpected error
  2   wrong usage, or the app cannot be imported
  3   Redis cannot be reached, or cannot be used as it is
  4   stream or protocol differ from what is stored
  5   some input was rejected
  10  threshold for lag or dead letters passed
  11  a partition is unassigned, quarantined, paused, stalled or failing
  12  no live member
  130 interrupted
"""


def epilog(*examples: str) -> str:
    """The end of a command's help: examples, then the exit codes."""
    shown = "\n".join(f"  $ {each}" for each in examples)
    return f"\b\nExample{'s' if len(examples) > 1 else ''}:\n{shown}\n\n{EPILOG}"


#: Error -> its exit code; the first that fits.
_CODES: list[tuple[type[RunnelError], int]] = [
    (ServerError, UNREACHABLE),
    (BurstBlocked, NOT_PROCESSING),
    (Mismatch, MISMATCH),
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
    return next(code for kind, code in _CODES if isinstance(error, kind))


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong on stderr and exit."""
    if as_json:
        as_json(message, "error", {"exit": code})
    else:
        click.echo(f"error: {message}", err=True)
    sys.exit(code)


def say(message: str, level: str = "info", **fields: Any) -> None:
    """Say something on stderr, whatever the log's level is."""
    if as_json:
        as_json(message, level, fields)
    else:
        click.echo(message, err=True)


#: What writes a line as JSON, its level and its fields with it, where that was asked for.
as_json: Callable[[str, str, dict[str, Any]], None] | None = None
