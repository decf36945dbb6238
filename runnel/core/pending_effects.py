"""What the events of one partition write besides its checkpoint, until a commit has written it.

While events are current, what the handler writes to tables and emits to streams for them can be
undone. Once they are finished it is a step, which waits for the commit that covers them. A commit
may hold only so much: what was finished is split between events.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runnel import keys
from runnel.core.table_state import MOST_BYTES, MOST_FIELDS, Field, TableState
from runnel.errors import TooManyWrites
from runnel.protocol import Effect, Entries, Entry, OutboxEntries, PartitionKeys, Sink, TableWrites

#: Limits of one commit, as MOST_FIELDS and MOST_BYTES: entries, and targets, which are tables and
#: partitions of other streams. They are those of `transact`, and so of what the handler may emit
#: for its current events.
MOST_ENTRIES, MOST_TARGETS = 200, 50
#: How many entries may wait in an outbox.
OUTBOX_SIZE = 10_000


class Emitted(NamedTuple):
    """An entry for a partition of a stream, and its bytes."""

    sink: Sink
    entry: Entry
    size: int


@dataclass(frozen=True, slots=True)
class Step:
    """What was written until the event with the id `end` was finished. It was the `number`-th event
    to be finished since the first step."""

    end: bytes
    number: int
    writes: dict[Field, bytes | None]
    emitted: Sequence[Emitted]
    size: int


class Load:
    """How much one commit holds."""

    def __init__(self) -> None:
        self.tables: set[str] = set()
        self.fields: set[Field] = set()
        self.entries: defaultdict[Sink, int] = defaultdict(int)
        self.size = 0

    def add(self, step: Step) -> bool:
        """Add a step. Returns False if that is too much for one commit."""
        self.fields.update(step.writes)
        self.tables.update(table for table, _ in step.writes)
        for each in step.emitted:
            self.entries[each.sink] += 1
        self.size += step.size
        return self.excess() is None

    def emit(self, emitted: Emitted) -> bool:
        """Add an entry. Returns False if that is too much for one commit."""
        self.entries[emitted.sink] += 1
        self.size += emitted.size
        return self.excess() is None

    def excess(self) -> str | None:
        """The limit that is exceeded, for people, or None."""
        for sink, number in self.entries.items():
            if number >= sink.size:
                return f"{sink.size - 1} entries for one partition of a stream of that size"
        if len(self.fields) > MOST_FIELDS:
            return f"{MOST_FIELDS} keys"
        if sum(self.entries.values()) > MOST_ENTRIES:
            return f"{MOST_ENTRIES} entries"
        if len(self.tables) + len(self.entries) > MOST_TARGETS:
            return f"{MOST_TARGETS} tables and partitions of other streams"
        return f"{MOST_BYTES} bytes" if self.size > MOST_BYTES else None


class PendingEffects:
    """The effects of one partition: writes of the tables with these names, and emitted entries.

    With `one_slot`, a script can write to the keys of one slot only: entries for streams in other
    slots go to the processor's outbox.
    """

    def __init__(self, names: PartitionKeys, tables: Sequence[str], one_slot: bool = False) -> None:
        self.tables = TableState(names.prefix, tables)
        self._prefix = names.prefix
        self._outbox = names.outbox if one_slot else None
        #: What was emitted for the current events, and the part of it that `seal` keeps.
        self._open: list[Emitted] = []
        self._sealed: list[Emitted] = []
        self._load = self._load_of(())
        self._steps: deque[Step] = deque()
        self._number = 0
        #: What the commit that is in flight writes, and how many steps that is.
        self.in_flight: tuple[Effect, ...] = ()
        self._in_flight_steps = 0

    # For the current events

    def emit(self, sink: Sink, entry: Entry) -> None:
        """Add an entry to the sink with the commit that covers the current events. Raises
        TooManyWrites if no commit could hold what they emit."""
        made = Emitted(sink, entry, sum(map(len, entry)))
        if not self._load.emit(made):
            excess = self._load.excess()
            self._load = self._load_of([*self._sealed, *self._open])
            raise TooManyWrites(
                f"the current events emit more than {excess}, which is more than one commit may "
                "hold: emit less for one event, or take fewer events at a time"
            )
        self._open.append(made)

    def _load_of(self, emitted: Iterable[Emitted]) -> Load:
        """That of the current events: they may write every table, too."""
        load = Load()
        load.tables.update(self.tables.tables)
        for each in emitted:
            load.emit(each)
        return load

    def write_back(self) -> None:
        """Take in what the handler has changed in place. Raises EncodeError and TooManyWrites."""
        self.tables.write_back()

    def seal(self) -> None:
        """The handler is done with some of the current events: keep what it has written for them,
        if another one fails. Raises as `write_back` does."""
        self.tables.seal()
        self._sealed += self._open
        self._open = []

    def undo(self, *, sealed: bool = True) -> None:
        """The current events were not finished: forget what was written for them. Without `sealed`,
        keep what was."""
        self.tables.undo(sealed=sealed)
        if self._open or self._sealed:
            self._open = []
            if sealed:
                self._sealed = []
            self._load = self._load_of(self._sealed)

    def finished(self, end: bytes, count: int) -> None:
        """`count` of the current events are finished, up to the one with the id `end`, and what was
        written belongs to them. Call `write_back` first."""
        self._number += count
        writes, size = self.tables.finished(end)
        emitted: Sequence[Emitted] = ()
        if self._open or self._sealed:
            emitted = [*self._sealed, *self._open]
            size += sum(each.size for each in emitted)
            self._open, self._sealed, self._load = [], [], self._load_of(())
        if writes or emitted:
            self._steps.append(Step(end, self._number, writes, emitted, size))
        if self.tables.crowded:
            self.tables.forget({field for step in self._steps for field in step.writes})

    # For commits

    def begin_commit(self) -> tuple[bytes, int] | None:
        """Choose what the next commit writes: all steps, or as many as it may hold.

        Returns None for all; else the id of the last event that it may cover, and how many finished
        events come after that one.
        """
        chosen: list[Step] = []
        load = Load()
        for step in self._steps:
            if not load.add(step) and chosen:
                break
            chosen.append(step)
        self.in_flight, self._in_flight_steps = tuple(self._merged(chosen)), len(chosen)
        if len(chosen) == len(self._steps):
            return None
        return chosen[-1].end, self._number - chosen[-1].number

    def _merged(self, steps: Sequence[Step]) -> Iterable[Effect]:
        writes: defaultdict[str, dict[bytes, bytes | None]] = defaultdict(dict)
        entries: defaultdict[Sink | None, list[Entry]] = defaultdict(list)
        for step in steps:
            for (table, key), value in step.writes.items():
                writes[table][key] = value
            for sink, entry, _ in step.emitted:
                if self._outbox is None or keys.same_slot(sink.prefix, self._prefix):
                    entries[sink].append(entry)
                else:
                    entries[None].append([b"to", sink.address().encode(), *entry])
        for table, those in writes.items():
            sets = [(key, value) for key, value in those.items() if value is not None]
            deletes = [key for key, value in those.items() if value is None]
            yield TableWrites(self._prefix, table, sets, deletes)
        for target, several in entries.items():
            if target is not None:
                yield Entries(target, several)
            elif self._outbox is not None:
                yield OutboxEntries(self._outbox, OUTBOX_SIZE, several)

    def committed(self) -> None:
        """Redis has applied the commit that was in flight."""
        for _ in range(self._in_flight_steps):
            self._steps.popleft()
        self.in_flight, self._in_flight_steps = (), 0

    def drop_steps(self) -> None:
        """Nothing that waits for a commit is written."""
        self._steps.clear()
        self.in_flight, self._in_flight_steps = (), 0

    def forget_all(self) -> None:
        """The server has lost commits: what Redis has is unknown again."""
        self.tables.forget_all()
        self.drop_steps()
