"""One trial at a time, in the whole of a worker.

An event in whose processing a worker died may have killed it, or have been in hand by chance when
another partition's event did. So those events are tried one after the other: if the worker dies
again, the one that has its turn is to blame. Partitions that are under no such suspicion go on.
"""

from __future__ import annotations

import asyncio

#: Seconds that anybody waits for a turn: an event that takes for ever must not hold up the others.
LONGEST_WAIT = 60.0


class RecordedStartLock:
    """Held by the lease that has waited for longest."""

    def __init__(self) -> None:
        #: Leases, the one that holds it first, and what to set when it is another's.
        self._queue: dict[object, asyncio.Event] = {}

    def take(self, lease: object, changed: asyncio.Event) -> bool:
        """Is it this lease's now? Else `changed` is set once it is."""
        self._queue.setdefault(lease, changed)
        return next(iter(self._queue)) is lease

    def give(self, lease: object) -> None:
        """Give it on, or stop waiting for it."""
        if self._queue.pop(lease, None) and self._queue:
            next(iter(self._queue.values())).set()
