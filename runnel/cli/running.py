"""Runs the work of a command, and turns expected errors into one sentence and an exit code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from redis.exceptions import RedisError

from runnel.cli import exits, runbooks
from runnel.cli.event_loop import Runner
from runnel.connection.connect import connect
from runnel.connection.explain import explain_redis_error
from runnel.errors import (
    Full,
    HandlerExit,
    Mismatch,
    Missing,
    PartitionKeyError,
    RecordError,
    RunnelError,
    ServerUnreachable,
    Unregistered,
)
from runnel.log import logger_of
from runnel.preflight.server import check_server
from runnel.protocol.scripts import Scripts

logger = logger_of("runnel.worker")
T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], url: str) -> T:
    """Run `work` to its end. Expected errors end the process."""
    with reporting_errors(url), Runner() as loop:
        return loop.run(work)


def with_scripts(url: str, work: Callable[[Scripts], Awaitable[T]]) -> T:
    """Run `work` with a client of a server that can be used. Expected errors end the process."""

    async def connected() -> T:
        client = connect(url)
        try:
            await check_server(client, url)
            return await work(Scripts(client))
        finally:
            await client.aclose()

    return run(connected(), url)


def run_on(work: Coroutine[Any, Any, T], url: str, exited: Callable[[HandlerExit], None]) -> T:
    """Run `work` to its end, even if SystemExit or KeyboardInterrupt leaves the event loop before:
    a task that nobody awaits may raise it. Then `exited` is called, and must make `work` end."""
    with reporting_errors(url), Runner() as runner:
        loop = runner.get_loop()
        task, stopped = loop.create_task(work), False
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                if not task.done():
                    exited(HandlerExit.of(error))
            except RuntimeError:
                if task.done() or loop.is_closed():
                    raise
                if not stopped:
                    logger.error("user code stopped the worker's event loop; the worker continues")
                stopped = True
            except asyncio.CancelledError:
                raise RunnelError(
                    "user code cancelled the worker's own task, and the worker ends with it: "
                    "cancel only tasks that your code has started, not asyncio.all_tasks()"
                ) from None
        return task.result()


@contextmanager
def reporting_errors(url: str) -> Iterator[None]:
    """Report an expected error that is raised inside, and end the process."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    except BrokenPipeError:
        raise  # Not from Redis: the reader of the output closed the pipe, and click handles that.
    except HandlerExit as error:
        if error.code == exits.OK:
            sys.exit(exits.OK)
        exits.fail(f"user code ended this worker: {error}", error.code)
    except (RunnelError, RedisError, OSError) as error:
        exits.fail(*explained(error, url))


def explained(error: RunnelError | RedisError | OSError, url: str) -> tuple[str, int]:
    """The message for an error, and its exit code."""
    if not isinstance(error, RunnelError):
        error = explain_redis_error(error, url) or RunnelError(str(error))
    return f"{_sentence(error)}{_runbook(error, url)}", exits.code_of(error)


def _runbook(error: RunnelError, url: str) -> str:
    """Where to read on, for what an operator can meet at night."""
    if isinstance(error, ServerUnreachable):
        section = runbooks.FAILOVER if "+sentinel:" in url else runbooks.NO_REDIS
        return f" {runbooks.see(section).capitalize()}."
    return f"; {runbooks.see(runbooks.DEPLOY)}" if isinstance(error, Mismatch) else ""


def _sentence(error: RunnelError) -> str:
    match error:
        case Mismatch():
            return error.explained()
        case Full():
            return explain_full(error)
        case Unregistered() | Missing():
            return explain_missing(error)
        case RecordError() | PartitionKeyError():
            return f"{error}. Nothing was sent."
    return str(error)


def explain_full(error: Full) -> str:
    """Which processor keeps a partition full, and what to do about it."""
    limit, processor = error.details.get("limit", "?"), error.details.get("processor")
    where = f"a partition of {error.sink}" if error.sink else "a partition"
    full = f"{where} is full ({limit} events) because {error.reason}"
    if not processor:
        return (
            f"{full}: start a worker, or run `runnel processor add`, or declare the stream with "
            'retain="until_full"'
        )
    return (
        f"{full}: start workers for {processor}, or if it is gone for good, `runnel processor "
        "remove` it (with --app if its code is gone too)"
    )


def explain_missing(error: Unregistered | Missing) -> str:
    """What is missing, and how to create it."""
    if not str(error).startswith(error.word):
        return str(error)
    name = error.details.get("processor")
    who = f"processor {name}" if name else "the processor"
    return f"{who} is not registered on the stream: start a worker, or run `runnel processor add`"
