"""Measures the time that a partition waits: between retries, and for lists to fill up.

These waits are the partition's own, and no time of user code is in them. So a test that replaces
this clock waits for none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Deadlines(Protocol):
    """A clock for waits."""

    def now(self) -> float:
        """Seconds, from some moment on."""
        ...

    def at(self, when: float | None) -> AbstractAsyncContextManager[Any]:
        """Ends the wait inside with TimeoutError at this time; None is never."""
        ...

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Make a call after so many seconds."""
        ...


class LoopDeadlines:
    """The clock of the event loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def at(self, when: float | None) -> AbstractAsyncContextManager[Any]:
        return asyncio.timeout_at(when)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, call)


#: It has no state.
LOOP = LoopDeadlines()
