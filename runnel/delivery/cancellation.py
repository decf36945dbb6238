"""Is a `CancelledError` one that somebody asked for? User code raises others of its own."""

from __future__ import annotations

import asyncio


def cancelled() -> bool:
    """Does anybody cancel the task that runs now?"""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
