"""What is known of the tables of one partition under one lease, and what is still to be written.

The commits of one processor alone write a table, and under a lease no other worker makes such
commits. So what was read or written once is true until the lease ends, and needs no second read.

Writes belong to the events during which they were made. While an event is current they can be
undone; once it is finished they wait for the commit that covers it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runnel.errors import TooManyWrites
from runnel.protocol import TableWrites

#: A table, and a key in it.
Field = tuple[str, bytes]
#: The most fields that one commit writes, and the most bytes: limits of `transact`, and so of what
#: the handler may write while it has one event.
MOST_FIELDS, MOST_BYTES = 1000, 4_000_000
#: How many fields are remembered at most, not counting those that are still to be written.
MOST_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """What was written until the event with the id `end` was finished. It was the `number`-th event
    to be finished under the lease."""

    end: bytes
    number: int
    writes: dict[Field, bytes | None]
    size: int


class TableState:
    """The tables with these names, of the partition whose keys start with `prefix`."""

    def __init__(self, prefix: str, tables: Sequence[str]) -> None:
        self.prefix = prefix
        self.tables = tuple(tables)
        #: Field -> its value, None if it has none. The one that was used last is at the end.
        self._known: dict[Field, bytes | None] = {}
        #: What the handler has written since its current events were handed out.
        self._open: dict[Field, bytes | None] = {}
        #: Field -> its value before that.
        self._before: dict[Field, bytes | None] = {}
        self._size = 0
        self._steps: deque[Step] = deque()
        self._number = 0
        #: The writes of the commit that is in flight, and how many steps they are.
        self._in_flight: tuple[tuple[TableWrites, ...], int] = (), 0

    # Reading

    def unknown(self, keys: Iterable[bytes]) -> list[Field]:
        """The fields of these keys, in all tables, that must be read from Redis first."""
        known, found = self._known, []
        for key in keys:
            for table in self.tables:
                field = table, key
                if field in known:
                    known[field] = known.pop(field)  # So that it is not forgotten meanwhile.
                else:
                    found.append(field)
        return found

    def learn(self, field: Field, value: bytes | None) -> None:
        """Redis has this value. If the handler has written the field meanwhile, that counts."""
        self._known.setdefault(field, value)

    def forget_all(self) -> None:
        """What Redis has may be older than what is known. Nothing waits to be written."""
        self._known.clear()

    def get(self, field: Field) -> bytes | None:
        """The value, None if there is none. Raises KeyError if it must be read first."""
        return self._known[field]

    # Writing

    @property
    def has_open_writes(self) -> bool:
        """Has the handler written since its current events were handed out?"""
        return bool(self._open)

    def put(self, field: Field, value: bytes | None) -> None:
        """Write a value, or delete the field. Raises KeyError if it must be read first, and
        TooManyWrites if no commit could hold what was written for the current events."""
        before = self._known[field]
        size, more = self._size + len(value or b""), field not in self._open
        size += len(field[1]) if more else -len(self._open[field] or b"")
        if len(self._open) + more > MOST_FIELDS or size > MOST_BYTES:
            raise TooManyWrites(
                f"table {field[0]}: the current events write more than {MOST_FIELDS} keys or "
                f"{MOST_BYTES} bytes, which is more than one commit may hold"
            )
        self._before.setdefault(field, before)
        self._size = size
        self._open[field] = value
        self._known[field] = value

    def undo(self) -> None:
        """The current events were not finished: forget what was written for them."""
        self._known.update(self._before)
        self._open, self._before, self._size = {}, {}, 0

    def finished(self, end: bytes, count: int) -> None:
        """The current events are finished, `count` of them, up to the one with the id `end`."""
        self._number += count
        if self._open:
            self._steps.append(Step(end, self._number, self._open, self._size))
            self._open, self._before, self._size = {}, {}, 0
        if len(self._known) > MOST_KNOWN:
            self._forget()

    def _forget(self) -> None:
        """Forget fields that were not used for long, and that no step writes."""
        needed = {field for step in self._steps for field in step.writes}
        excess = len(self._known) - MOST_KNOWN * 3 // 4
        for field in [each for each in self._known if each not in needed][:excess]:
            del self._known[field]

    # Committing

    def begin_commit(self) -> tuple[bytes, int] | None:
        """Choose what the next commit writes: all steps, or as many as it may hold.

        Returns None for all; else the id of the last event that it may cover, and how many finished
        events come after that one.
        """
        writes: dict[Field, bytes | None] = {}
        size, count = 0, 0
        for step in self._steps:
            more = writes | step.writes
            if count and (len(more) > MOST_FIELDS or size + step.size > MOST_BYTES):
                break
            writes, size, count = more, size + step.size, count + 1
        self._in_flight = tuple(self._of_tables(writes)), count
        if count == len(self._steps):
            return None
        last = self._steps[count - 1]
        return last.end, self._number - last.number

    def _of_tables(self, writes: dict[Field, bytes | None]) -> Iterable[TableWrites]:
        for table in self.tables:
            those = [(key, value) for (name, key), value in writes.items() if name == table]
            sets = [(key, value) for key, value in those if value is not None]
            deletes = [key for key, value in those if value is None]
            if those:
                yield TableWrites(self.prefix, table, sets, deletes)

    @property
    def in_flight(self) -> tuple[TableWrites, ...]:
        """What the commit that is in flight writes."""
        return self._in_flight[0]

    def committed(self) -> None:
        """Redis has applied the commit that was in flight."""
        for _ in range(self._in_flight[1]):
            self._steps.popleft()
        self._in_flight = (), 0
