"""What the events of one partition write besides its checkpoint, until a commit has written it.

While events are current, what the handler writes to tables and emits to streams for them can be
undone. Once they are finished it waits for the commit that covers them. A commit may hold only so
much: what is finished gathers in steps, each of which one commit writes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runnel import keys
from runnel.core.table_state import MOST_BYTES, MOST_FIELDS, Field, TableState
from runnel.errors import TooManyWrites
from runnel.protocol import (
    Effect,
    Entries,
    Entry,
    OutboxEntries,
    ParkedEntries,
    PartitionKeys,
    Replayed,
    Sink,
    TableWrites,
)

#: Limits of one commit, as MOST_FIELDS and MOST_BYTES: entries, and targets, which are tables and
#: partitions of other streams. They are those of `transact`, and so of what the handler may emit
#: for its current events.
MOST_ENTRIES, MOST_TARGETS = 200, 50
#: How many events one commit may park or replay, beside those entries.
MOST_PARKED = 200
#: How many steps may wait for their commits, so that memory is bounded.
MOST_STEPS = 2
#: How many entries may wait in an outbox.
OUTBOX_SIZE = 10_000


class Emitted(NamedTuple):
    """An entry for a partition of a stream, and its bytes."""

    sink: Sink
    entry: Entry
    size: int


class Load:
    """How many entries one commit has for which sinks, and how many bytes it has. It may write so
    many tables, too."""

    def __init__(self, tables: int) -> None:
        self._tables = tables
        #: The prefix of each sink -> its entries.
        self._entries: dict[str, int] = {}
        self._number = 0
        self._parked = self._replayed = 0
        self.size = 0

    def park(self, parked: int, replayed: int, most: int) -> bool:
        """Add events that are parked, of which there may be `most`, or that are replayed. Returns
        True if a limit is exceeded: one commit does not do both."""
        self._parked += parked
        self._replayed += replayed
        both = bool(self._parked and self._replayed)
        return both or self._parked > min(most, MOST_PARKED) or self._replayed > MOST_PARKED

    def add(self, emitted: Emitted) -> str | None:
        """Add an entry. Returns the limit that is exceeded, for people, or None."""
        sink = emitted.sink
        of_sink = self._entries.get(sink.prefix, 0) + 1
        self._entries[sink.prefix] = of_sink
        self._number += 1
        self.size += emitted.size
        if of_sink >= sink.size:
            return f"{sink.size - 1} entries for one partition of a stream of that size"
        if self._number > MOST_ENTRIES:
            return f"{MOST_ENTRIES} entries"
        if self._tables + len(self._entries) > MOST_TARGETS:
            return f"{MOST_TARGETS} tables and partitions of other streams"
        return f"{MOST_BYTES} bytes" if self.size > MOST_BYTES else None


class Step:
    """What one commit writes: all that was written for one event, or for several in a row.

    The last one has the id `end`, and was the `number`-th event to be finished.
    """

    def __init__(self, tables: int) -> None:
        self.end, self.number = b"", 0
        self.writes: dict[Field, bytes | None] = {}
        self.emitted: list[Emitted] = []
        #: Entries of events that are parked, and the ids of those that are not any more.
        self.parked: list[Entry] = []
        self.replayed: list[str] = []
        self.most_parked = 0
        self._load = Load(tables)

    def __bool__(self) -> bool:
        return bool(self.writes or self.emitted or self.parked or self.replayed)

    def add_writes(self, writes: Mapping[Field, bytes | None], size: int) -> bool:
        """Add writes of tables. Returns False, and adds nothing, if a commit might not hold them:
        then `add` tells. Most events write tables and have no other effect."""
        load = self._load
        if load.size + size > MOST_BYTES or len(self.writes) + len(writes) > MOST_FIELDS:
            return False
        load.size += size
        self.writes.update(writes)
        return True

    def add(
        self,
        writes: Mapping[Field, bytes | None],
        emitted: Sequence[Emitted],
        size: int,
        parked: Sequence[Entry] = (),
        replayed: Sequence[str] = (),
        most_parked: int = MOST_PARKED,
    ) -> bool:
        """Add what was written for further events; `size` is the bytes of the writes. Returns False
        if that is more than one commit may hold: then nothing more may be added."""
        self._load.size += size
        fits = self._load.size <= MOST_BYTES
        for each in emitted:
            fits &= self._load.add(each) is None
        if parked or replayed or self.parked or self.replayed:
            self._load.size += sum(sum(map(len, each)) for each in parked)
            fits &= not self._load.park(len(parked), len(replayed), most_parked)
            fits &= self._load.size <= MOST_BYTES
        if len(self.writes) + len(writes) > MOST_FIELDS:  # Some may be the same.
            fits &= len(self.writes.keys() | writes) <= MOST_FIELDS
        if not fits and self:
            return False
        self.writes.update(writes)
        if emitted:
            self.emitted += emitted
        if parked or replayed:
            self.parked += parked
            self.replayed += replayed
        self.most_parked = most_parked
        return True


class PendingEffects:
    """The effects of one partition: writes of the tables with these names, and emitted entries.

    With `one_slot`, a script can write to the keys of one slot only: entries for streams in other
    slots go to the processor's outbox.
    """

    def __init__(
        self,
        names: PartitionKeys,
        tables: Sequence[str],
        one_slot: bool = False,
        expire: Mapping[str, int] | None = None,
    ) -> None:
        self._expire = expire or {}
        self.tables = TableState(names.prefix, tables)
        self._names, self._prefix = names, names.prefix
        self._outbox = names.outbox if one_slot else None
        #: What was emitted for the current events, and the part of it that `seal` keeps.
        self._open: list[Emitted] = []
        self._sealed: list[Emitted] = []
        self._load = self._load_of(())
        self._steps: deque[Step] = deque()
        #: Counts the events that were finished.
        self._number = 0
        #: What the commit that is in flight writes: the first step, if there is one.
        self.in_flight: tuple[Effect, ...] = ()

    # For the current events

    def emit(self, sink: Sink, entry: Entry) -> None:
        """Add an entry to the sink with the commit that covers the current events. Raises
        TooManyWrites if no commit could hold what they emit."""
        made = Emitted(sink, entry, sum(map(len, entry)))
        if excess := self._load.add(made):
            self._load = self._load_of([*self._sealed, *self._open])
            raise TooManyWrites(
                f"the current events emit more than {excess}, which is more than one commit may "
                "hold: emit less for one event, or take fewer events at a time"
            )
        self._open.append(made)

    def _load_of(self, emitted: Iterable[Emitted]) -> Load:
        """That of the current events: they may write every table, too."""
        load = Load(len(self.tables.tables))
        for each in emitted:
            load.add(each)
        return load

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

    def adopt(
        self, writes: Mapping[Field, bytes | None], size: int, emitted: Sequence[Emitted]
    ) -> None:
        """The event that is finished next has written and emitted this, beside others."""
        self.tables.adopt(writes, size)
        self._open = list(emitted)

    def finished(
        self,
        end: bytes,
        count: int,
        parked: Sequence[Entry] = (),
        replayed: Sequence[str] = (),
        most_parked: int = MOST_PARKED,
    ) -> None:
        """`count` of the current events are finished, up to the one with the id `end`, and what was
        written belongs to them. Call `tables.write_back` first. `parked` are entries of events
        between them; `replayed` are ids of entries of parked events that are finished."""
        self._number += count
        writes, size = self.tables.finished(end)
        emitted: Sequence[Emitted] = ()
        if self._open or self._sealed:
            emitted = [*self._sealed, *self._open]
            self._open, self._sealed, self._load = [], [], self._load_of(())
        if emitted or parked or replayed:
            self._add(end, writes, emitted, size, parked, replayed, most_parked)
        elif writes:
            step = self._open_step()
            if step is not None and step.add_writes(writes, size):
                step.end, step.number = end, self._number
            else:
                self._add(end, writes, (), size)
        if self.tables.crowded:
            self.tables.forget({field for step in self._steps for field in step.writes})

    def parked(self, end: bytes, entry: Entry, most: int) -> None:
        """The event with the id `end` is finished, and parked. There may be `most` of them."""
        self._number += 1
        self._add(end, {}, (), 0, [entry], (), most)

    def _open_step(self) -> Step | None:
        """The step to which more may be added: the last one, if it is not in flight."""
        return self._steps[-1] if len(self._steps) > bool(self.in_flight) else None

    def _add(self, end: bytes, *written: Any) -> None:
        step = self._open_step()
        if step is None or not step.add(*written):
            step = Step(len(self.tables.tables))
            step.add(*written)
            self._steps.append(step)
        step.end, step.number = end, self._number

    @property
    def replays(self) -> bool:
        """Are there finished replays that wait for their commit?"""
        return any(step.replayed for step in self._steps)

    @property
    def full(self) -> bool:
        """Does so much wait for commits that no further event may be handed out?"""
        return len(self._steps) > MOST_STEPS

    # For commits

    def begin_commit(self) -> tuple[bytes, int] | None:
        """Choose what the next commit writes: the first step.

        Returns None if it may cover all finished events; else the id of the last one that it may
        cover, and how many come after that one.
        """
        if not self._steps:
            return None
        first = self._steps[0]
        self.in_flight = tuple(self._effects_of(first))
        return None if len(self._steps) == 1 else (first.end, self._number - first.number)

    def _effects_of(self, step: Step) -> Iterable[Effect]:
        sets: defaultdict[str, list[tuple[bytes, bytes]]] = defaultdict(list)
        deletes: defaultdict[str, list[bytes]] = defaultdict(list)
        for (table, key), value in step.writes.items():
            if value is None:
                deletes[table].append(key)
            else:
                sets[table].append((key, value))
        for table in sets | deletes:
            expire = self._expire.get(table)
            yield TableWrites(self._prefix, table, sets[table], deletes[table], expire)
        sinks: dict[str, tuple[Sink, list[Entry]]] = {}
        outbox: list[Entry] = []
        for sink, entry, _ in step.emitted:
            if self._outbox is None or keys.same_slot(sink.prefix, self._prefix):
                sinks.setdefault(sink.prefix, (sink, []))[1].append(entry)
            else:
                outbox.append([b"to", sink.address().encode(), *entry])
        for sink, entries in sinks.values():
            yield Entries(sink, entries)
        if step.parked:
            yield ParkedEntries(self._names, step.most_parked, step.parked)
        if step.replayed:
            yield Replayed(self._names, step.replayed)
        if self._outbox is not None and outbox:
            yield OutboxEntries(self._outbox, OUTBOX_SIZE, outbox)

    def committed(self) -> None:
        """Redis has applied the commit that was in flight."""
        if self.in_flight:
            self._steps.popleft()
            self.in_flight = ()

    def drop_steps(self) -> None:
        """Nothing that waits for a commit is written."""
        self._steps.clear()
        self.in_flight = ()

    def forget_all(self) -> None:
        """The server has lost commits: what Redis has is unknown again."""
        self.tables.forget_all()
        self.drop_steps()
