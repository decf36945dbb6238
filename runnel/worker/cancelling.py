"""Cancels tasks and waits until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

#: Seconds that cancelled user code has to clean up. If it swallows the cancellation, it is left
#: running after that.
CLEAN_UP = 0.3
#: Seconds that a cancelled handler has to end: after it took too long, and when the worker shuts
#: down. It may clean up in that time; if it swallows the cancellation, it is cancelled once more.
END_AFTER_TIMEOUT, END_WITH_WORKER = 5.0, 0.9

#: Tasks of handlers that did not end. The event loop keeps only weak references to tasks.
_left: set[asyncio.Task[Any]] = set()


async def cancel_and_wait(
    tasks: Iterable[asyncio.Task[Any]], seconds: float = inf
) -> list[asyncio.Task[Any]]:
    """Cancel tasks and wait until they have ended, at most so many seconds. Returns those that have
    not ended. What they raise stays in them.

    redis-py swallows a cancellation that arrives together with a reply, so tasks are cancelled
    repeatedly.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    pending = [task for task in tasks if not task.done()]
    while pending and (left := deadline - loop.time()) > 0:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=min(0.1, left))
        pending = [task for task in pending if not task.done()]
    return pending


async def cancel_handlers(
    handlers: Iterable[asyncio.Task[Any]], seconds: float, stopping: Callable[[], bool]
) -> list[asyncio.Task[Any]]:
    """Cancel user code and wait until it ends, at most so many seconds. Returns what has not ended.

    If the caller itself is `stopping`, to cancel it once more changes nothing.
    """
    now = asyncio.get_running_loop().time
    pending = [task for task in handlers if not task.done()]
    for until in (now() + seconds / 2, now() + seconds):
        for task in pending:
            task.cancel()
        while pending and (left := until - now()) > 0:
            try:
                await asyncio.wait(pending, timeout=left)
            except asyncio.CancelledError:
                if not stopping():  # Otherwise this is a repeat, and is raised in the end.
                    raise
            pending = [task for task in pending if not task.done()]
    return pending


def leave_running(task: asyncio.Task[Any]) -> None:
    """Go on without user code that does not end."""
    _left.add(task)
    task.add_done_callback(_left.discard)


def first_error(error: BaseException) -> BaseException:
    """The first exception in nested groups that is no group itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
