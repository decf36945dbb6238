"""`Table`: what a processor remembers for each key, written with its commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar, overload

from runnel import keys
from runnel.codec.partitioning import key_bytes
from runnel.codec.values import ValueCodec
from runnel.connection.deployment import Deployment
from runnel.core.table_state import Field, LentValues
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.errors import ConfigError, EncodeError, HandlerError, NotInHandler, NotLoaded
from runnel.settings import Settings, check
from runnel.stream import StreamSpec
from runnel.table_reader import partition_of, read_committed

V = TypeVar("V")
D = TypeVar("D")
#: The most tables of a stream: one commit may write them all.
MOST_TABLES = 19  # `transact` takes 20 effects; one may be a dead letter.
#: No default.
NOTHING: Any = object()


class Connected(Protocol):
    """What a table needs of the app's producer."""

    @property
    def deployment(self) -> Deployment:
        """Where the keys live."""
        ...


class TableOwner(Protocol):
    """What a table needs of the app that declared it."""

    settings: Settings
    under_test: Any

    def producer(self) -> Connected:
        """The app's producer in the running event loop."""
        ...


class Table(Generic[V]):
    """A map from keys to values, which lives beside the events of a stream.

    Inside a handler it is used like a dict. What is written there is stored by the commit that
    covers the event, or not at all: if the handler fails, its writes are undone. Keys are those
    that a partition key may be: text, integers, UUIDs, bytes. Each partition has a part of its own,
    so use the key of the event, or one that comes only with events of the same partition.

    A value that is changed in place, such as a list, is written when its event is finished: after
    `table[key].append(1)` nothing must be assigned. A value belongs to the event for which it was
    taken from the table: what is changed in it later is not written.

    Only one processor may write the table: `processor`, else the first that does. Everybody may
    `read` what it has committed.

    With `expire`, a key that no commit has written for so many seconds is removed by a later commit
    that writes to the same part of the table, some time after: never earlier. This bounds the
    memory, and says nothing about what is seen: a handler may see the value a while longer, and if
    it writes the key then, the key lives on.

    Made by `App.table`, which raises ConfigError.
    """

    def __init__(
        self,
        app: TableOwner,
        name: str,
        stream: StreamSpec[Any],
        value: Any,
        default: V | Callable[[], V] = NOTHING,
        processor: str | None = None,
        expire: int | None = None,
    ) -> None:
        self.app = app
        self.name = keys.check_name("table", name)
        self.stream = stream
        self.processor = processor
        self.expire: int | None = None
        if expire is not None:
            self.expire = check(f"table {name}", "expire", expire)
        self._codec: ValueCodec[V] = ValueCodec(f"table {name}", value)
        #: A handler may change its values in place.
        self._lends = not self._codec.immutable
        self._make_default: Callable[[], V] | None = None
        #: The key that was used last, and its field.
        self._last: tuple[Any, Field] = None, (name, b"")
        if callable(default):
            self._make_default = default
        elif default is not NOTHING:
            # Each key gets one of its own. A wrong one is told where it is declared.
            try:
                stored = self._codec.dumps(default)
            except EncodeError as error:
                raise ConfigError(f"{error}; default={default!r} must be a value of it") from error
            self._make_default = lambda: self._codec.loads(stored)

    def __repr__(self) -> str:
        return f"Table({self.name!r}, stream={self.stream.name!r})"

    # Python would try the keys 0, 1, 2 and so on.
    __iter__ = None

    # Inside a handler

    def __getitem__(self, key: Any) -> V:
        field, state = self._field(key), self._here_tables()
        if self._lends and (lent := state.lent(field, NOTHING)) is not NOTHING:
            return lent  # type: ignore[no-any-return]
        try:
            stored = state.get(field)
        except KeyError:
            raise self._not_loaded(key) from None
        if stored is not None:
            value = self._codec.loads(stored)
            return self._lend(state, field, value, stored) if self._lends else value
        if self._make_default is None:
            raise self._absent(key)
        value = self._make_default()
        return self._lend(state, field, value) if self._lends else value

    def __setitem__(self, key: Any, value: V) -> None:
        field, state = self._field(key), self._writable()
        data = self._codec.dumps(value)
        try:
            state.put(field, data)
        except KeyError:
            raise self._not_loaded(key) from None
        if self._lends:
            self._lend(state, field, value, data)

    def __delitem__(self, key: Any) -> None:
        state = self._writable()
        if self._stored(key) is None:
            raise self._absent(key)
        state.put(self._field(key), None)

    def __contains__(self, key: Any) -> bool:
        return self._stored(key) is not None

    @overload
    def get(self, key: Any) -> V | None: ...
    @overload
    def get(self, key: Any, default: V) -> V: ...
    @overload
    def get(self, key: Any, default: D) -> V | D: ...
    def get(self, key: Any, default: Any = None) -> Any:
        """The stored value, else `default`. The default of the table plays no part."""
        return default if self._stored(key) is None else self[key]

    def setdefault(self, key: Any, default: V) -> V:
        """The stored value; if there is none, `default`, which is stored."""
        if self._stored(key) is not None:
            return self[key]
        self[key] = default
        return default

    @overload
    def pop(self, key: Any) -> V: ...
    @overload
    def pop(self, key: Any, default: V) -> V: ...
    @overload
    def pop(self, key: Any, default: D) -> V | D: ...
    def pop(self, key: Any, default: Any = NOTHING) -> Any:
        """Delete the key and return its value, else `default`. Raises KeyError without one."""
        state = self._writable()
        if self._stored(key) is not None:
            value = self[key]
            state.put(self._field(key), None)
            return value
        if default is NOTHING:
            raise self._absent(key)
        return default

    async def load(self, key: Any) -> None:
        """Read a key that is not the key of the current event, so that it can be used."""
        await self.load_many([key])

    async def load_many(self, keys: Iterable[Any]) -> None:
        """Read several keys in one round trip."""
        self._here_tables()
        here = CURRENT_EVENT.get()
        assert here is not None
        assert here.load is not None
        await here.load(list({self._field(key) for key in keys}))

    # From anywhere

    async def read(self, key: Any, *, of: Any = None) -> V:
        """The value that was last committed, else the default. Raises KeyError without one.

        Works in every event loop, and needs no worker. `of` is the partition key of the events that
        write the key, if that is not the key itself. The handler that writes the table may have
        newer values, which are not committed yet. Raises DecodeError; Mismatch; redis-py's errors.
        """
        found = await self.read_many([key], of=of)
        if key not in found:
            raise self._absent(key)
        return found[key]

    async def read_many(self, keys: Iterable[Any], *, of: Any = None) -> dict[Any, V]:
        """What was last committed for several keys, in one round trip to each server.

        Keys without a value have the default. Without a default they are missing. Keys of several
        partitions are not read at the same moment. `of` is the partition key of the events that
        write all of them, if these are not the keys themselves.
        """
        names = {key: key_bytes(key) for key in keys}
        partition = None if of is None else partition_of(self.stream, key_bytes(of))
        for key, name in names.items():
            own = partition_of(self.stream, name) if partition is None else partition
            self._refuse_own(key, own)
        stored = await read_committed(
            self.app.producer().deployment, self.stream, self.name, names.values(), partition
        )
        found: dict[Any, V] = {}
        for key, name in names.items():
            value = stored[name]
            if value is not None:
                found[key] = self.decode(value)
            elif self._make_default is not None:
                found[key] = self._make_default()
        return found

    def at(self, key: Any, *, of: Any = None) -> V:
        """In a test, inside `App.test`: the value that was last committed, else the default. Raises
        KeyError without one. `of` is as for `read`, which is for everywhere else."""
        if self.app.under_test is None:
            raise ConfigError(
                f"table {self.name}: `at` is for tests, inside `async with app.test()`; elsewhere "
                f"use `await {self.name}.read(key)`, in a handler `{self.name}[key]`"
            )
        name = key_bytes(key)
        partition = partition_of(self.stream, name if of is None else key_bytes(of))
        prefix = self.stream.prefix(partition)
        stored = self.app.under_test.table(keys.table(prefix, self.name)).get(name)
        if stored is not None:
            return self.decode(stored)
        if self._make_default is None:
            raise self._absent(key)
        return self._make_default()

    def decode(self, stored: bytes) -> V:
        """The value in these bytes. Raises DecodeError."""
        return self._codec.loads(stored)

    def _absent(self, key: Any) -> KeyError:
        return KeyError(f"table {self.name} has no value for {key!r}, and no default=")

    def _refuse_own(self, key: Any, partition: int) -> None:
        """A handler that may have written the key since the last commit must not `read` it."""
        here = CURRENT_EVENT.get()
        tables = here.tables if here else None
        if (
            tables is not None
            and self.name in tables.tables
            and tables.prefix == self.stream.prefix(partition)
        ):
            other = "" if self.processor else "; if another processor writes it, declare which"
            raise HandlerError(
                f"table {self.name}: `read` shows what was last committed, and this handler may "
                f"have written {key!r} since: use `{self.name}[{key!r}]`, after `await "
                f"{self.name}.load({key!r})` if it is not the key of the current event{other}"
            )

    def _lend(self, state: LentValues, field: Field, value: V, stored: bytes | None = None) -> V:
        """Note that the handler has this value, if it can be changed in place."""
        if self._codec.mutable(value) and self._has_event():
            since = self._codec.dumps(value) if stored is None else stored
            state.lend(field, value, self._codec, since)
        return value

    def _field(self, key: Any) -> Field:
        # `table[key] += 1` asks twice for the same object.
        last, field = self._last
        if last is not key or type(key) is not str:
            field = self.name, key_bytes(key)
            self._last = key, field
        return field

    def _stored(self, key: Any) -> bytes | None:
        field, state = self._field(key), self._here_tables()
        if state.lent(field, NOTHING) is not NOTHING:
            state.write_back([field])
        try:
            return state.get(field)
        except KeyError:
            raise self._not_loaded(key) from None

    def _not_loaded(self, key: Any) -> NotLoaded:
        return NotLoaded(
            f"table {self.name}: {key!r} is not the key of the current event, so it was not "
            f"read with it: call `await {self.name}.load({key!r})` first. Each partition has its "
            f"own part of the table: if events of other partitions use {key!r} too, emit them to a "
            "stream that is partitioned by it"
        )

    def _has_event(self) -> bool:
        here = CURRENT_EVENT.get()
        return here is not None and here.has_event()

    def _writable(self) -> LentValues:
        here = CURRENT_EVENT.get()
        state = self._tables_of(here)
        assert here is not None
        if here.over is not None and here.over():
            raise NotInHandler(
                f"table {self.name}: this handler has failed or was ended, and its events will be "
                "processed again: nothing that it still writes would be stored"
            )
        if not here.has_event():
            raise NotInHandler(
                f"table {self.name}: the handler has no event here, so no commit would cover what "
                "it writes: write before `await events.commit()`, or once the next event has come"
            )
        return state

    def _here_tables(self) -> LentValues:
        """The tables of the partition whose handler runs here. Raises NotInHandler."""
        return self._tables_of(CURRENT_EVENT.get())

    def _tables_of(self, here: CurrentEvent | None) -> LentValues:
        tables = here.tables if here is not None else None
        if here is None or tables is None or self.name not in tables.tables:
            if here is not None:
                name = self.name
                raise NotInHandler(
                    f"table {name}: the processor {here.processor} does not write it"
                    f"{f', but {self.processor} does' if self.processor else ''}: it can only read "
                    f"what was last committed, with `await {name}.read(key)`"
                )
            raise NotInHandler(
                f"table {self.name} belongs to the stream {self.stream.name}: it can be used while "
                "a worker runs a handler of one of its events"
                + (f", of the processor {self.processor}" if self.processor else "")
                + f"; elsewhere, read it with `await {self.name}.read(key)`, or in a test with "
                f"`{self.name}.at(key)`"
            )
        if here.run != tables.run:
            raise NotInHandler(
                f"table {self.name}: this handler was given up, or has ended, and another run of "
                "it may have its events: what it left running can use no table"
            )
        return tables
