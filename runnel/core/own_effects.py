"""What one event writes that is processed beside others of its partition.

The writes of such an event are kept apart from those of the others. A failure drops them. Once the
event is done, later events of its key see what it wrote to tables; but a commit gets its effects
only when all events before it are finished, too: a commit must hold no effect of an event beyond
the checkpoint that it sets, or a crash would repeat that event with its effects already applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runnel.core.partition import PartitionState
from runnel.core.pending_effects import Emitted, Load
from runnel.core.table_state import MOST_BYTES, MOST_FIELDS, Field, LentValues, TableState
from runnel.errors import HandlerError, TooManyWrites
from runnel.protocol import Entry, Sink

#: Nothing.
_NO_WRITES: Mapping[Field, bytes | None] = {}


class OwnTables(LentValues):
    """The tables of a partition as one event sees them: what it has written itself; else what is in
    `before`, which events before it wrote; else what the partition knows.

    With `key`, the event may use this key only: another one may be in use by another event.
    """

    def __init__(
        self,
        shared: TableState,
        before: Mapping[Field, bytes | None] = _NO_WRITES,
        key: bytes | None = None,
    ) -> None:
        super().__init__()
        self._shared = shared
        self._before = before
        self._key = key
        self.prefix, self.tables = shared.prefix, shared.tables
        #: As `TableState.run`: code that was given up and goes on can use these tables no more.
        self.run = 0
        #: What the event has written, and its bytes.
        self.writes: dict[Field, bytes | None] = {}
        self.size = 0

    def get(self, field: Field) -> bytes | None:
        """The value, None if there is none. Raises KeyError if it must be read first, and
        HandlerError for a key that the event may not use."""
        if self._key is not None and field[1] != self._key:
            raise self._not_own(field)
        if field in self.writes:
            return self.writes[field]
        if field in self._before:
            return self._before[field]
        return self._shared.get(field)

    def put(self, field: Field, value: bytes | None) -> None:
        """Write a value, or delete the field. Raises as `get` does, and TooManyWrites if no commit
        could hold what the event writes."""
        old = self.get(field)
        size = self.size + (len(value) if value else 0)
        if field not in self.writes:
            size += len(field[1])
        elif old:
            size -= len(old)
        if size > MOST_BYTES or len(self.writes) + (field not in self.writes) > MOST_FIELDS:
            raise TooManyWrites(
                f"table {field[0]}: the event writes more than {MOST_FIELDS} keys or {MOST_BYTES} "
                "bytes, which is more than one commit may hold"
            )
        self.writes[field] = value
        self.size = size
        self._lent.pop(field, None)

    def unknown_of(self, fields: Iterable[Field]) -> list[Field]:
        """Those of the fields that must be read from Redis before the event can use them. Raises
        HandlerError for a key that the event may not use."""
        wanted = list(fields)
        for field in wanted:
            if self._key is not None and field[1] != self._key:
                raise self._not_own(field)
        return self._shared.unknown_of(
            field for field in wanted if field not in self.writes and field not in self._before
        )

    def _not_own(self, field: Field) -> HandlerError:
        key = field[1].decode(errors="backslashreplace")[:100]
        return HandlerError(
            f"table {field[0]}: {key!r} is not the key of this event. With concurrency, another "
            "event may use that key at the same time, so each may use its own alone: emit to a "
            f"stream that is partitioned by {key!r} and write the table there, or leave "
            "concurrency out"
        )


class OwnEffects:
    """The writes and emitted entries of one event of a partition: see `OwnTables`."""

    __slots__ = ("_load", "_state", "closed", "emitted", "tables")

    def __init__(
        self,
        state: PartitionState,
        before: Mapping[Field, bytes | None] = _NO_WRITES,
        key: bytes | None = None,
    ) -> None:
        self._state = state
        #: The event's view of the tables, if the processor has any.
        self.tables = None if state.tables is None else OwnTables(state.tables, before, key)
        self.emitted: list[Emitted] = []
        self._load: Load | None = None
        #: The event is done, or has failed: nothing that its code still writes counts.
        self.closed = False

    def __bool__(self) -> bool:
        return bool(self.emitted or (self.tables is not None and self.tables.writes))

    @property
    def used(self) -> bool:
        """Has the event written anything, or values that it may have changed in place?"""
        return bool(self) or (self.tables is not None and self.tables.lends)

    @property
    def size(self) -> int:
        """Bytes of what was written and emitted."""
        emitted = self._load.size if self._load is not None else 0
        return emitted + (self.tables.size if self.tables is not None else 0)

    @property
    def writes(self) -> Mapping[Field, bytes | None]:
        """What the event has written to tables."""
        return _NO_WRITES if self.tables is None else self.tables.writes

    def emit(self, sink: Sink, entry: Entry) -> None:
        """Add an entry to the sink with the commit that covers the event. Raises TooManyWrites if
        no commit could hold what it emits."""
        if self._load is None:
            self._load = self._load_of(())
        made = Emitted(sink, entry, sum(map(len, entry)))
        if excess := self._load.add(made):
            self._load = self._load_of(self.emitted)
            raise TooManyWrites(
                f"the event emits more than {excess}, which is more than one commit may hold: emit "
                "less for one event"
            )
        self.emitted.append(made)

    def _load_of(self, emitted: Iterable[Emitted]) -> Load:
        load = Load(len(self.tables.tables) if self.tables is not None else 0)
        for each in emitted:
            load.add(each)
        return load

    def done(self) -> None:
        """The event is done: nothing more is written for it. Raises EncodeError and TooManyWrites
        for a value that was changed in place: then the event has failed."""
        if self.tables is not None:
            self.tables.write_back()
        self.close()

    def close(self) -> None:
        """Code of the event that still runs can use no table and emit nothing."""
        self.closed = True
        if self.tables is not None:
            self.tables.run += 1

    def show(self) -> None:
        """Let the events that begin from now on see what this one has written to tables."""
        if self.tables is not None and self.tables.writes:
            assert self._state.tables is not None
            self._state.tables.show(self.tables.writes)


def finish_each(state: PartitionState, effects: Sequence[OwnEffects | None]) -> bool:
    """The first current events are finished, as many as there are `effects`, which are theirs, in
    order. None stands for an event that is parked, since its key is. Call `done` and `show` of the
    others before.

    Returns True if a commit must be scheduled, as `PartitionState.finish` does.
    """
    count, scheduled = 0, False
    for own in effects:
        if own is None:
            scheduled |= state.finish(count)
            state.park_next()
            count = 0
            continue
        count += 1
        if own and state.refused is None:
            # Those before it wrote nothing, so the commit that has its effects may cover them.
            size = 0 if own.tables is None else own.tables.size
            state.adopt(own.writes, size, own.emitted)
            scheduled |= state.finish(count)
            count = 0
    return state.finish(count) or scheduled
