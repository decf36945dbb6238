"""What is known of the tables of one partition under one lease, and what is still to be written.

The commits of one processor alone write a table, and under a lease no other worker makes such
commits. So what was read or written once is true until the lease ends, and needs no second read.

Writes belong to the events during which they were made. While an event is current they can be
undone; once it is finished they wait for the commit that covers it.

A value that can be changed in place, such as a list, is lent to the handler until its event is
finished. Then it is compared with what was stored, and written if the handler has changed it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from runnel.errors import TooManyWrites
from runnel.protocol import TableWrites
from runnel.protocol.ids import reached

#: A table, and a key in it.
Field = tuple[str, bytes]
#: The most fields that one commit writes, and the most bytes: limits of `transact`, and so of what
#: the handler may write while it has one event.
MOST_FIELDS, MOST_BYTES = 1000, 4_000_000
#: How many fields are remembered at most, not counting those that are still to be written and those
#: of events that are not finished.
MOST_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """What was written until the event with the id `end` was finished. It was the `number`-th event
    to be finished under the lease."""

    end: bytes
    number: int
    writes: dict[Field, bytes | None]
    size: int


class Comparison(Protocol):
    """Tells if a value was changed in place."""

    def changed(self, value: Any, since: bytes) -> bytes | None:
        """The bytes of the value, if it is another one than `since` stands for."""
        ...


class TableState:
    """The tables with these names, of the partition whose keys start with `prefix`."""

    def __init__(
        self, prefix: str, tables: Sequence[str], expire: Mapping[str, int] | None = None
    ) -> None:
        self.prefix = prefix
        self.tables = tuple(tables)
        #: Table -> the seconds after which a key that was not written is removed.
        self._expire = expire or {}
        #: Counts the runs of the handler. One that was given up may go on, but writes nothing more.
        self.run = 0
        #: Field -> its value, None if it has none. The one that was read first comes first.
        self._known: dict[Field, bytes | None] = {}
        #: What the handler has written since its current events were handed out.
        self._open: dict[Field, bytes | None] = {}
        #: Field -> its value before that.
        self._before: dict[Field, bytes | None] = {}
        #: The same for those of the current events with which the handler is done.
        self._sealed: dict[Field, bytes | None] = {}
        self._before_sealed: dict[Field, bytes | None] = {}
        #: The bytes of both.
        self._size = 0
        #: Field -> a value that the handler may change in place, and its bytes before that.
        self._lent: dict[Field, tuple[Any, Comparison, bytes]] = {}
        #: The last id of each read whose events are not all finished, and their keys.
        self._reads: deque[tuple[str, Sequence[bytes]]] = deque()
        self._steps: deque[Step] = deque()
        self._number = 0
        #: The writes of the commit that is in flight, and how many steps they are.
        self._in_flight: tuple[tuple[TableWrites, ...], int] = (), 0

    # Reading

    def unknown(self, last: bytes, keys: Sequence[bytes]) -> list[Field]:
        """The fields of these keys, in all tables, that must be read from Redis first. They are
        those of events up to the one with the id `last`, and are not forgotten before it is
        finished."""
        self._reads.append((last.decode(), keys))
        return self.unknown_of([(table, key) for key in keys for table in self.tables])

    def unknown_of(self, fields: Iterable[Field]) -> list[Field]:
        """Those of the fields that must be read from Redis before they can be used."""
        return [each for each in fields if each not in self._known]

    def learn(self, field: Field, value: bytes | None) -> None:
        """Redis has this value. If the handler has written the field meanwhile, that counts."""
        self._known.setdefault(field, value)

    def get(self, field: Field) -> bytes | None:
        """The value, None if there is none. Raises KeyError if it must be read first."""
        return self._known[field]

    # Writing

    def put(self, field: Field, value: bytes | None) -> None:
        """Write a value, or delete the field. Raises KeyError if it must be read first, and
        TooManyWrites if no commit could hold what was written for the current events."""
        before, old = self._known[field], self._open.get(field)
        size = self._size + len(value or b"") - len(old or b"")
        fields = len(self._open) + len(self._sealed)
        if field not in self._open:
            size, fields = size + len(field[1]), fields + 1
        if fields > MOST_FIELDS or size > MOST_BYTES:
            raise TooManyWrites(
                f"table {field[0]}: the current events write more than {MOST_FIELDS} keys or "
                f"{MOST_BYTES} bytes, which is more than one commit may hold"
            )
        self._before.setdefault(field, before)
        self._size = size
        self._open[field] = self._known[field] = value
        self._lent.pop(field, None)

    def lend(self, field: Field, value: Any, comparison: Comparison, since: bytes) -> None:
        """The handler has this value, whose bytes are `since`, and may change it in place."""
        self._lent[field] = value, comparison, since

    def lent(self, field: Field, default: Any) -> Any:
        """The value that the handler has, else `default`."""
        found = self._lent.get(field)
        return default if found is None else found[0]

    def write_back(self, fields: Iterable[Field] | None = None) -> None:
        """Write what the handler has changed in place. Raises EncodeError and TooManyWrites."""
        if not self._lent:
            return
        for field in list(self._lent) if fields is None else fields:
            value, comparison, since = self._lent[field]
            if (data := comparison.changed(value, since)) is not None:
                self.put(field, data)
                self._lent[field] = value, comparison, data

    def seal(self) -> None:
        """The handler is done with some of the current events: keep what it has written for them,
        if another one fails. Raises as `write_back` does."""
        self.write_back()
        self._sealed |= self._open
        self._before_sealed = self._before | self._before_sealed
        self._open, self._before, self._lent = {}, {}, {}

    def undo(self, *, sealed: bool = True) -> None:
        """The current events were not finished: forget what was written for them. Without `sealed`,
        keep what was."""
        self._known.update(self._before)
        self._open, self._before, self._lent = {}, {}, {}
        if sealed:
            self._known.update(self._before_sealed)
            self._sealed, self._before_sealed = {}, {}
        self._size = sum(len(key) + len(each or b"") for (_, key), each in self._sealed.items())

    def finished(self, end: bytes, count: int) -> None:
        """`count` of the current events are finished, up to the one with the id `end`, and what was
        written belongs to them. Call `write_back` first."""
        self._number += count
        if self._open or self._sealed:
            self._steps.append(Step(end, self._number, self._sealed | self._open, self._size))
        self._open, self._before, self._lent, self._size = {}, {}, {}, 0
        self._sealed, self._before_sealed = {}, {}
        while self._reads and reached(end.decode(), self._reads[0][0]):
            self._reads.popleft()
        if len(self._known) > MOST_KNOWN:
            self._forget()

    def _forget(self) -> None:
        """Forget the fields that were read first, but none that a step writes, and none of an event
        that is not finished: it was read already, and its fields are not read again."""
        needed = {field for step in self._steps for field in step.writes}
        needed |= {(table, key) for _, keys in self._reads for key in keys for table in self.tables}
        excess = len(self._known) - MOST_KNOWN * 3 // 4
        for field in [each for each in self._known if each not in needed][:excess]:
            del self._known[field]

    def forget_all(self) -> None:
        """What Redis has is unknown again."""
        self._known.clear()
        self.drop_steps()

    def drop_steps(self) -> None:
        """Nothing that waits for a commit is written."""
        self._steps.clear()
        self._in_flight = (), 0

    # Committing

    def begin_commit(self) -> tuple[bytes, int] | None:
        """Choose what the next commit writes: all steps, or as many as it may hold.

        Returns None for all; else the id of the last event that it may cover, and how many finished
        events come after that one.
        """
        writes: dict[Field, bytes | None] = {}
        size, count = 0, 0
        for step in self._steps:
            fields = len(writes) + sum(field not in writes for field in step.writes)
            if count and (fields > MOST_FIELDS or size + step.size > MOST_BYTES):
                break
            writes.update(step.writes)
            size, count = size + step.size, count + 1
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
                yield TableWrites(self.prefix, table, sets, deletes, self._expire.get(table))

    @property
    def in_flight(self) -> tuple[TableWrites, ...]:
        """What the commit that is in flight writes."""
        return self._in_flight[0]

    def committed(self) -> None:
        """Redis has applied the commit that was in flight."""
        for _ in range(self._in_flight[1]):
            self._steps.popleft()
        self._in_flight = (), 0
