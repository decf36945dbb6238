"""Tells what a user's code raised by itself from what was asked for: cancellations, and exits."""

from __future__ import annotations

import asyncio


def cancelled() -> bool:
    """Has somebody asked to cancel the current task?"""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def asked_to_end(error: BaseException | None) -> SystemExit | KeyboardInterrupt | None:
    """The SystemExit or KeyboardInterrupt that an error is or contains as a group, else None."""
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    return next((found for each in error.exceptions if (found := asked_to_end(each))), None)
