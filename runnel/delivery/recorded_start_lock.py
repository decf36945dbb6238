"""One lock for a worker: one event that may have killed a worker is processed at a time.

If a worker died while it processed an event, that event may have killed it, or the event of another
partition did, and this one was only the current one by chance. So such events are processed one
after the other: if the worker dies again, the event that holds the lock is to blame. Partitions
without such an event do not use the lock.
"""

from __future__ import annotations

import asyncio

#: The most seconds that a partition waits for the lock: an event that takes for ever must not hold
#: up the others.
LONGEST_WAIT = 60.0


class RecordedStartLock:
    """Held by the partition that has waited for longest."""

    def __init__(self) -> None:
        #: Partition -> what to set when it gets the lock. The first partition holds it.
        self._queue: dict[object, asyncio.Event] = {}

    def acquire(self, partition: object, changed: asyncio.Event) -> bool:
        """Does this partition hold the lock now? If not, `changed` is set once it does."""
        self._queue.setdefault(partition, changed)
        return next(iter(self._queue)) is partition

    def release(self, partition: object) -> None:
        """Pass the lock on to the next partition, or stop waiting for it."""
        if self._queue.pop(partition, None) and self._queue:
            next(iter(self._queue.values())).set()
