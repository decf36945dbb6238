"""Cancels tasks and waits until they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import inf
from typing import Any

#: Seconds that cancelled user code has to clean up. If it swallows the cancellation, it is left
#: running after that.
CLEAN_UP = 0.3


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
