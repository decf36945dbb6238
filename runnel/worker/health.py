"""Tells whether a worker lives and whether it is ready, for probes. Any thread may ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

#: Seconds between two signs of life of the event loop.
EVERY = 0.5
#: Seconds from which a blocked event loop is told, although it may be blocked for longer.
LONG_BLOCK = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """The answer to a probe.

    `alive` is False once the event loop has been blocked for longer than the setting `max_block`:
    only a restart helps. `ready` is True while the worker processes events: its startup functions
    have returned, it is a member of the group of each of its processors, Redis answers, and it does
    not end. `problems` says in sentences why it is not alive or not ready. `blocked` is the seconds
    for which the event loop has run nothing.
    """

    alive: bool
    ready: bool
    problems: tuple[str, ...] = ()
    blocked: float = 0.0


class Part(Protocol):
    """A member, or the leader election of the tasks, as another thread may ask it."""

    def problem(self) -> str | None:
        """Why this does not work, or None."""
        ...


class LoopBeat:
    """Knows for how long an event loop has been blocked."""

    def __init__(self) -> None:
        self._beat_at: float | None = None
        self._next: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop, which must be the running one, until `end`."""
        self._beat_at = time.monotonic()
        self._next = loop.call_later(EVERY, self.begin, loop)

    def end(self) -> None:
        """Watch the loop no more: whatever it does, it does not count as blocked."""
        self._beat_at = None
        if self._next is not None:
            self._next.cancel()

    def blocked_for(self) -> float:
        """Seconds for which the loop has run nothing; 0 before it runs."""
        if self._beat_at is None:
            return 0.0
        return max(0.0, time.monotonic() - self._beat_at - EVERY)


def judge(
    blocked: float, max_block: float, started: bool, stopping: bool, parts: Iterable[Part]
) -> Health:
    """The health of a worker whose loop has been blocked for so many seconds."""
    alive = blocked <= max_block
    if stopping:
        problems = ["the worker ends"]
    elif not started:
        problems = ["the worker starts: its startup functions have not returned"]
    else:
        problems = [problem for part in parts if (problem := part.problem())]
    ready = alive and not problems
    if blocked > LONG_BLOCK or not alive:
        limit = f"max_block is {max_block:g} s" if alive else "longer than max_block"
        problems.append(f"the event loop has been blocked for {blocked:.0f} s: {limit}")
    return Health(alive, ready, tuple(problems), blocked)
