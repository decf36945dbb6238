"""How much is read at a time, and how much of it may wait in memory.

Redis can be told how many entries of a log a reply may have, but not how many bytes. So sizes are
guessed from what came before, and little is asked for where a guess may be wrong: one entry of a
log whose entries nobody has seen, and after a failure less, of fewer logs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

#: Bytes that one read may bring, roughly.
READ_BYTES = 16_000_000
#: Seconds that one read may take before less is asked for: the others wait meanwhile.
READ_SECONDS = 2.0
#: Bytes of memory that an event takes beyond those of its fields.
OVERHEAD = 300
#: Fewer bytes are not asked for at a time, however thin the line is.
LEAST_BYTES = 250_000
#: Entries that are asked for of a log though they be large, if memory has room for them: a look at
#: the entry before them, which goes with a read, brings one more. Rather fewer logs are read then.
WORTH_A_LOOK = 4
#: Bytes that are asked for of a log however many others have something: what is read together is
#: committed together, so a few events of each of a thousand logs would cost a commit each time.
WORTH_A_COMMIT = 32_000
#: Logs that one command reads at the most.
MOST_LOGS = 1000

_fields = itemgetter(1)


def weigh(entries: Sequence[Any], plenty: float) -> float:
    """What one of the entries takes in memory: the mean, or if all of them are more than `plenty`
    what the largest takes, since a mean would hide it."""
    total = sum(map(len, chain.from_iterable(map(_fields, entries))))
    if total > plenty:
        return max(sum(map(len, entry[1])) for entry in entries) + OVERHEAD
    return total / len(entries) + OVERHEAD


class Room:
    """The bytes of events that may wait in the memory of a worker, over all its processors."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        #: How many partitions are held.
        self.partitions = 0
        self._used: dict[object, float] = {}

    def note(self, who: object, used: float) -> None:
        """So much waits there now."""
        self._used[who] = used

    def forget(self, who: object) -> None:
        """Nothing waits there any more."""
        self._used.pop(who, None)

    def share(self, active: int) -> float:
        """Bytes that may wait of one partition: of those that are free, divided among the `active`
        ones, and never less than all divided among all partitions."""
        free = self.limit - sum(self._used.values())
        return max(self.limit / max(1, self.partitions), free / max(1, active))


class Appetite:
    """What one read asks for. It shrinks when reads fail or take long, and grows again."""

    def __init__(self, prefetch: int, limit: int) -> None:
        self._most = (MOST_LOGS, prefetch, max(LEAST_BYTES, min(READ_BYTES, limit // 2)))
        self.logs, self.entries, self.bytes = self._most

    @property
    def too_much(self) -> int | None:
        """Bytes after which a read is broken off, for the guess was wrong. One entry is never too
        large."""
        return None if self.logs == self.entries == 1 else 2 * self._most[2]

    def failed(self, logs: int, entries: int) -> None:
        """So many entries of so many logs could not be read."""
        self.logs = max(1, min(self.logs, logs) // 2)
        self.entries = max(1, min(self.entries, entries) // 2)
        self.bytes = max(LEAST_BYTES, self.bytes // 2)

    def served(self, size: float, seconds: float) -> None:
        """So many bytes came, and took so long."""
        logs, entries, most = self._most
        self.logs, self.entries = min(logs, self.logs * 2), min(entries, self.entries * 2)
        if size > LEAST_BYTES and seconds > READ_SECONDS:
            self.bytes = max(LEAST_BYTES, self.bytes // 2)
        elif seconds < READ_SECONDS / 4:
            self.bytes = min(most, self.bytes * 2)

    def count(self, size: float, share: float, active: int) -> int:
        """How many entries of this size, which is 0 if nobody knows it, to ask for of a log of
        which `share` bytes may wait, where `active` logs have something. There are few different
        answers, since each takes a command."""
        if not size:
            return 1
        worth = max(self.bytes / max(1, active), WORTH_A_LOOK * size, WORTH_A_COMMIT)
        room = int(min(share, worth) / size)
        if room >= self.entries:
            return self.entries
        count = 1
        while count * 2 <= room:
            count *= 2
        return count
