"""Runs a command's work; every expected error ends in one sentence and its exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from redis.exceptions import RedisError

from runnel.cli import exits
from runnel.connection import translate
from runnel.errors import (
    ConfigError,
    Full,
    Gone,
    Mismatch,
    PartitionKeyError,
    RecordError,
    Replaced,
    RunnelError,
    ServerError,
    Unregistered,
)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], url: str) -> T:
    """Run it to its end."""
    with told(url), runner() as loop:
        return loop.run(work)


def runner() -> asyncio.Runner:
    """A place to run coroutines one after another: on uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


@contextmanager
def told(url: str) -> Iterator[None]:
    """Errors that happen inside are told, and end the process."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    except BrokenPipeError:
        raise  # Not Redis: who read the output has left, which click knows how to end on.
    except (RunnelError, RedisError, OSError) as error:
        exits.fail(*verdict(error, url))


def verdict(error: RunnelError | RedisError | OSError, url: str) -> tuple[str, int]:
    """What to say about an error, and the exit code."""
    if not isinstance(error, RunnelError):
        error = translate(error, url) or RunnelError(str(error))
    match error:
        case ServerError():
            return str(error), exits.UNREACHABLE
        case Mismatch():
            return explain_mismatch(error), exits.MISMATCH
        case RecordError() | PartitionKeyError():
            return f"{error}. Nothing was sent.", exits.REJECTED
        case Full():
            return explain_full(error), exits.REJECTED
        case ConfigError():
            return str(error), exits.USAGE
        case Unregistered() | Gone():
            return explain_missing(error), exits.UNEXPECTED
        case Replaced():
            return (
                f"another worker runs under the name {error.details.get('member', '?')}: give each "
                "worker a --name of its own",
                exits.UNEXPECTED,
            )
    return str(error), exits.UNEXPECTED


def explain_mismatch(error: Mismatch) -> str:
    """A sentence with both values and the fix."""
    field, stream = error.details.get("field", ""), error.details.get("stream")
    stored, given = error.details.get("stored", "?"), error.details.get("given", "?")
    if field == "protocol":
        return f"Redis holds protocol version {stored}, this Runnel speaks {given}: upgrade Runnel"
    name = {"partitions": "partition_count", "hash": "hasher"}.get(field, field)
    return (
        f"{f'stream {stream}' if stream else 'the stream'} was made with {name}={stored}, the code "
        f"says {given}. Say {stored}; to change it, declare a new stream and drain this one into it"
    )


def explain_full(error: Full) -> str:
    """Who holds a full partition back, and what to do about it."""
    limit, processor = error.details.get("limit", "?"), error.details.get("processor")
    if not processor:
        return (
            f"a partition is full ({limit} events) and no processor is registered that could pass "
            "them: start a worker, or run `runnel processor add`"
        )
    return (
        f"a partition is full ({limit} events) because processor {processor} has not passed its "
        f"oldest events: start workers for {processor}, or if it is gone for good, "
        "`runnel processor remove` it"
    )


def explain_missing(error: Unregistered | Gone) -> str:
    """What is not there, and how it comes into being."""
    if not str(error).startswith(error.word):
        return str(error)
    processor = error.details.get("processor", "the processor")
    return f"{processor} is not registered there: start a worker, or run `runnel processor add`"
