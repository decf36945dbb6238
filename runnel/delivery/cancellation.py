"""Tells a `CancelledError` of asyncio from one that user code raised by itself."""

from __future__ import annotations

import asyncio


def cancelled() -> bool:
    """Has somebody asked to cancel the current task?"""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
