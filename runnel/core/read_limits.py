"""Limits how much one read asks for, and how many bytes of events wait in memory.

Redis can limit the number of entries in a reply, but not its bytes. So sizes are estimated from
earlier entries, and a read asks for little where the estimate may be wrong: for one entry while the
size of none is known, and after a failure for fewer entries of fewer logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

#: Bytes that one read should bring at most.
READ_BYTES = 16_000_000
#: Seconds that one read may take. After a slower one, reads ask for less, because other partitions
#: wait meanwhile.
READ_SECONDS = 2.0
#: Bytes of memory that an event takes beyond those of its fields.
OVERHEAD = 300
#: The fewest bytes that a read asks for, however slow the connection is.
LEAST_BYTES = 250_000
#: A read asks for at least so many entries of a log if memory has room for them and no read has
#: failed: to verify the cursor brings one more entry, which would be half of a read of one. Instead
#: of fewer entries, a read asks for fewer logs.
LEAST_ENTRIES = 4
#: The fewest bytes that a read asks for of a log, however many other logs have events: events that
#: are read together are committed together, so a few events of each of a thousand logs would cost a
#: commit each time.
LEAST_BYTES_OF_LOG = 32_000
#: The most logs that one command reads.
MOST_LOGS = 1000

_fields = itemgetter(1)


def bytes_per_entry(entries: Sequence[Any], plenty: float) -> float:
    """The memory that one of the entries takes: the mean. If all together are larger than `plenty`
    bytes, that of the largest, which a mean would hide."""
    total = sum(map(len, chain.from_iterable(map(_fields, entries))))
    if total > plenty:
        return max(sum(map(len, entry[1])) for entry in entries) + OVERHEAD
    return total / len(entries) + OVERHEAD


class MemoryBudget:
    """The bytes of events that may wait in the memory of a worker, for all its processors and all
    its readers: each reads up to a thousand logs of one server, or some of a cluster."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        #: How many partitions are held.
        self.partitions = 0
        #: Reader -> the bytes that wait in memory, and how many of its partitions have events.
        self._used: dict[object, tuple[float, int]] = {}

    def set_used(self, reader: object, used: float, active: int) -> None:
        """The partitions of this reader have so many bytes of events in memory. `active` of its
        partitions have events, or probably will."""
        self._used[reader] = used, active

    def forget(self, reader: object) -> None:
        """They have none in memory any more."""
        self._used.pop(reader, None)

    def share(self) -> float:
        """The bytes that may wait for one partition: the free bytes, divided by the number of
        active partitions; never less than all bytes, divided by the number of all partitions."""
        used = self._used.values()
        free = self.limit - sum(size for size, _ in used)
        active = sum(active for _, active in used)
        return max(self.limit / max(1, self.partitions), free / max(1, active))

    def read_bytes(self) -> int:
        """The bytes that one read may bring at most: several readers may read at the same time."""
        reading = sum(active > 0 for _, active in self._used.values())
        return max(LEAST_BYTES, min(READ_BYTES, self.limit // (2 * max(1, reading))))


class ReadLimits:
    """What one read may ask for. The limits shrink when reads fail or are slow, and grow again."""

    def __init__(self, prefetch: int, memory: MemoryBudget) -> None:
        self._prefetch = prefetch
        self._memory = memory
        self.logs, self.entries = MOST_LOGS, prefetch
        self._bytes = memory.read_bytes()

    @property
    def bytes(self) -> int:
        """The bytes that a read may ask for."""
        return min(self._bytes, self._memory.read_bytes())

    @property
    def max_reply_bytes(self) -> int | None:
        """The size at which a reply is aborted, because the estimate was wrong. None if the read
        asks for a single entry, which is never too large."""
        return None if self.logs == self.entries == 1 else 2 * self._memory.read_bytes()

    def failed(self, logs: int, entries: int) -> None:
        """A read of up to `entries` entries of each of `logs` logs failed."""
        self.logs = max(1, min(self.logs, logs) // 2)
        self.entries = max(1, min(self.entries, entries) // 2)
        self._bytes = max(LEAST_BYTES, self.bytes // 2)

    def succeeded(self, size: float, seconds: float) -> None:
        """A read brought `size` bytes and took so many seconds."""
        self.logs = min(MOST_LOGS, self.logs * 2)
        self.entries = min(self._prefetch, self.entries * 2)
        if size > LEAST_BYTES and seconds > READ_SECONDS:
            self._bytes = max(LEAST_BYTES, self.bytes // 2)
        elif seconds < READ_SECONDS / 4:
            self._bytes = min(READ_BYTES, self._bytes * 2)

    def count(self, size: float, share: float, active: int) -> int:
        """How many entries to ask for of one log.

        Its entries have `size` bytes, or 0 if that is unknown; `share` bytes of it may wait in
        memory; `active` logs have events. Few different numbers are returned, because logs with
        different numbers need a command each.
        """
        if not size:
            return 1
        wanted = max(self.bytes / max(1, active), LEAST_ENTRIES * size, LEAST_BYTES_OF_LOG)
        fitting = int(min(share, wanted) / size)
        if fitting >= self.entries:
            return self.entries
        count = 1
        while count * 2 <= fitting:
            count *= 2
        return count
