"""What is known of the tables of one partition under one lease, and what a handler has written.

The commits of one processor alone write a table, and under a lease no other worker makes such
commits. So what was read or written once is true until the lease ends, and needs no second read.

Writes belong to the events during which they were made. While an event is current they can be
undone; once it is finished they wait for the commit that covers it, in
`runnel.core.pending_effects`.

A value that can be changed in place, such as a list, is lent to the handler until its event is
finished. Then it is compared with what was stored, and written if the handler has changed it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from runnel.errors import TooManyWrites
from runnel.protocol.ids import reached

#: A table, and a key in it.
Field = tuple[str, bytes]
#: The most fields that one commit writes, and the most bytes: limits of `transact`, and so of what
#: the handler may write while it has one event.
MOST_FIELDS, MOST_BYTES = 1000, 4_000_000
#: How many fields are remembered at most, not counting those that are still to be written and those
#: of events that are not finished.
MOST_KNOWN = 20_000


class Comparison(Protocol):
    """Tells if a value was changed in place."""

    def changed(self, value: Any, since: bytes) -> bytes | None:
        """The bytes of the value, if it is another one than `since` stands for."""
        ...


class LentValues(ABC):
    """The tables as a handler uses them, which knows the values that it may change in place."""

    #: The prefix of the partition's keys, and the names of the tables.
    prefix: str
    tables: tuple[str, ...]
    #: Counts the runs of the handler. One that was given up may go on, but writes nothing more.
    run: int

    def __init__(self) -> None:
        #: Field -> a value that the handler may change in place, and its bytes before that.
        self._lent: dict[Field, tuple[Any, Comparison, bytes]] = {}

    @abstractmethod
    def get(self, field: Field) -> bytes | None:
        """The value, None if there is none. Raises KeyError if it must be read first."""

    @abstractmethod
    def put(self, field: Field, value: bytes | None) -> None:
        """Write a value, or delete the field. Raises KeyError if it must be read first, and
        TooManyWrites if no commit could hold what was written."""

    @abstractmethod
    def unknown_of(self, fields: Iterable[Field]) -> list[Field]:
        """Those of the fields that must be read from Redis before they can be used."""

    def lend(self, field: Field, value: Any, comparison: Comparison, since: bytes) -> None:
        """The handler has this value, whose bytes are `since`, and may change it in place."""
        self._lent[field] = value, comparison, since

    @property
    def lends(self) -> bool:
        """Has the handler values that it may change in place?"""
        return bool(self._lent)

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


class TableState(LentValues):
    """The tables with these names, of the partition whose keys start with `prefix`."""

    def __init__(self, prefix: str, tables: Sequence[str]) -> None:
        super().__init__()
        self.prefix = prefix
        self.tables = tuple(tables)
        self.run = 0
        #: Field -> its value, None if it has none. The one that was read first comes first.
        self._known: dict[Field, bytes | None] = {}
        #: What the handler has written since its current events were handed out: field -> its value
        #: before that. The new one is known.
        self._before: dict[Field, bytes | None] = {}
        #: The same for those of the current events with which the handler is done.
        self._before_sealed: dict[Field, bytes | None] = {}
        #: The bytes that were written for both.
        self._size = 0
        #: What the event wrote that is finished next, and its bytes, if it was processed beside
        #: others: see `runnel.core.own_effects`.
        self._adopted: tuple[Mapping[Field, bytes | None], int] | None = None
        #: The last id of each read, and the keys of its events; and the last event that is
        #: finished. Reads whose events are all finished are dropped now and then.
        self._reads: deque[tuple[str, Sequence[bytes]]] = deque()
        self._finished = b"0-0"

    # Reading

    def unknown(self, last: bytes, keys: Sequence[bytes]) -> list[Field]:
        """The fields of these keys, in all tables, that must be read from Redis first. They are
        those of events up to the one with the id `last`, and are not forgotten before it is
        finished."""
        self._drop_reads()
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
        old = self._known[field]
        size = self._size + (len(value) if value else 0)
        fields = len(self._before) + len(self._before_sealed)
        if field not in self._before:
            size, fields = size + len(field[1]), fields + 1
        elif old:
            size -= len(old)
        if fields > MOST_FIELDS or size > MOST_BYTES:
            raise TooManyWrites(
                f"table {field[0]}: the current events write more than {MOST_FIELDS} keys or "
                f"{MOST_BYTES} bytes, which is more than one commit may hold"
            )
        self._before.setdefault(field, old)
        self._size = size
        self._known[field] = value
        if self._lent:
            self._lent.pop(field, None)

    def show(self, writes: Mapping[Field, bytes | None]) -> None:
        """An event that was processed beside others has written this, which counts from now on."""
        self._known.update(writes)

    def adopt(self, writes: Mapping[Field, bytes | None], size: int) -> None:
        """The event that is finished next has written this, which was shown before."""
        self._adopted = writes, size

    def seal(self) -> None:
        """The handler is done with some of the current events: keep what it has written for them,
        if another one fails. Raises as `write_back` does."""
        self.write_back()
        self._before_sealed = self._before | self._before_sealed
        self._before, self._lent = {}, {}

    def undo(self, *, sealed: bool = True) -> None:
        """The current events were not finished: forget what was written for them. Without `sealed`,
        keep what was."""
        self._known.update(self._before)
        self._before, self._lent = {}, {}
        if sealed:
            self._known.update(self._before_sealed)
            self._before_sealed = {}
        self._size = sum(
            len(each[1]) + len(self._known[each] or b"") for each in self._before_sealed
        )

    def finished(self, end: bytes) -> tuple[Mapping[Field, bytes | None], int]:
        """The events up to the one with the id `end` are finished. Returns what was written for
        them, and its bytes. Call `write_back` first."""
        self._finished = end
        if self._lent:
            self._lent = {}
        if self._adopted is not None:
            adopted, self._adopted = self._adopted, None
            return adopted
        if not self._before and not self._before_sealed:
            return {}, 0
        written, size = self._before, self._size
        self._before, self._size = {}, 0
        if self._before_sealed:
            written |= self._before_sealed
            self._before_sealed = {}
        for field in written:
            written[field] = self._known[field]
        return written, size

    @property
    def crowded(self) -> bool:
        """Are more fields remembered than there should be?"""
        return len(self._known) > MOST_KNOWN

    def forget(self, needed: set[Field]) -> None:
        """Forget the fields that were read first, but none that is needed, and none of an event
        that is not finished: it was read already, and its fields are not read again."""
        self._drop_reads()
        needed |= {(table, key) for _, keys in self._reads for key in keys for table in self.tables}
        excess = len(self._known) - MOST_KNOWN * 3 // 4
        for field in [each for each in self._known if each not in needed][:excess]:
            del self._known[field]

    def _drop_reads(self) -> None:
        """Drop the reads whose events are all finished."""
        finished = self._finished.decode()
        while self._reads and reached(finished, self._reads[0][0]):
            self._reads.popleft()

    def forget_all(self) -> None:
        """What Redis has is unknown again."""
        self._known.clear()
