"""One event at a time with its start recorded, in the whole of a worker.

When a worker dies, only an event whose start was recorded may be blamed. If each of its partitions
had recorded one, the one that killed it would condemn the others.
"""

from __future__ import annotations

import asyncio


class Turn:
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
