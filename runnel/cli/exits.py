"""Exit codes, and the one place that turns errors into them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

import click
from redis.exceptions import RedisError

from runnel.connection import translate
from runnel.errors import (
    ConfigError,
    Mismatch,
    RecordError,
    RunnelError,
    ServerUnreachable,
)

T = TypeVar("T")

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
  3   Redis cannot be reached
  4   stream or protocol differ from what is stored
  5   some input was rejected
  10  lag threshold passed
  11  a partition is free, quarantined or paused
  12  no live member
  130 interrupted
"""


def fail(message: str, code: int) -> NoReturn:
    """Say what is wrong on stderr and exit."""
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def run(work: Coroutine[Any, Any, T], url: str) -> T:
    """Run a command's work; every expected error ends in one sentence and its exit code."""
    try:
        return _run(work)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ServerUnreachable as error:
        fail(str(error), UNREACHABLE)
    except Mismatch as error:
        fail(explain_mismatch(error), MISMATCH)
    except RecordError as error:
        fail(f"{error}. Nothing was sent.", REJECTED)
    except ConfigError as error:
        fail(str(error), USAGE)
    except RunnelError as error:
        fail(str(error), UNEXPECTED)
    except (RedisError, OSError) as error:
        translated = translate(error, url)
        fail(
            str(translated or error),
            UNREACHABLE if isinstance(translated, ServerUnreachable) else UNEXPECTED,
        )


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where it is installed: `runnel[fast]`."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def explain_mismatch(error: Mismatch) -> str:
    """A sentence with both values and the fix."""
    field = error.details.get("field", "")
    stored, given = error.details.get("stored", "?"), error.details.get("given", "?")
    if field == "protocol":
        return f"Redis holds protocol version {stored}, this Runnel speaks {given}: upgrade Runnel"
    name = {"partitions": "partition_count", "hash": "hasher"}.get(field, field)
    return (
        f"the stream was made with {name}={stored}, the code says {given}. Say {stored}; to change "
        "it, declare a new stream and drain this one into it"
    )
