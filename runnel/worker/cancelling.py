"""Ending tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import inf
from typing import Any

#: Seconds for which user code that was cancelled may clean up. Who swallows the cancellation is
#: left alone after that.
CLEAN_UP = 0.3


async def end(tasks: Iterable[asyncio.Task[Any]], seconds: float = inf) -> list[asyncio.Task[Any]]:
    """Cancel tasks and wait until they have ended, for at most so many seconds. What they raise is
    left in them. Returns those that have not ended.

    A cancellation that arrives just as redis-py has a reply at hand is swallowed there, so once is
    not enough.
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
