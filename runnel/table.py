"""`Table`: what a processor remembers for each key, written with its commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from runnel import keys
from runnel.codec.partitioning import key_bytes
from runnel.codec.values import ValueCodec
from runnel.connection.deployment import Deployment
from runnel.core.table_state import Field, TableState
from runnel.delivery.current_event import CURRENT_EVENT, CurrentEvent
from runnel.errors import HandlerError, NotInHandler, NotLoaded
from runnel.settings import Settings
from runnel.stream import StreamSpec
from runnel.table_reader import partition_of, read_committed

V = TypeVar("V")
D = TypeVar("D")
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

    def producer(self) -> Connected:
        """The app's producer in the running event loop."""
        ...


class Table(Generic[V]):
    """A map from keys to values, which lives beside the events of a stream.

    Inside a handler it is used like a dict. What is written there is stored by the commit that
    covers the event, or not at all: if the handler fails, its writes are undone. Keys are those
    that a partition key may be: text, integers, UUIDs, bytes. Each partition has a part of its own,
    so use the key of the event, or one that comes only with events of the same partition.

    Only one processor may write the table: `processor`, else the first that does. Everybody may
    `read` what it has committed.
    """

    def __init__(
        self,
        app: TableOwner,
        name: str,
        stream: StreamSpec[Any],
        value: Any,
        default: V | Callable[[], V] = NOTHING,
        processor: str | None = None,
    ) -> None:
        self.app = app
        self.name = keys.check_name("table", name)
        self.stream = stream
        self.processor = processor
        self._codec: ValueCodec[V] = ValueCodec(f"table {name}", value)
        self._default = default
        if default is not NOTHING and not callable(default):
            self._codec.dumps(default)  # So that a wrong one is told where it is declared.

    # Inside a handler

    def __getitem__(self, key: Any) -> V:
        stored = self._stored(key)
        if stored is not None:
            return self.decode(stored)
        if self._default is NOTHING:
            raise KeyError(key)
        return self._made()

    def __setitem__(self, key: Any, value: V) -> None:
        field, state = self._field(key), self._state()
        self._known(state, field, key)
        state.put(field, self._codec.dumps(value))

    def __delitem__(self, key: Any) -> None:
        if self._stored(key) is None:
            raise KeyError(key)
        self._state().put(self._field(key), None)

    def __contains__(self, key: Any) -> bool:
        return self._stored(key) is not None

    def get(self, key: Any, default: D | None = None) -> V | D | None:
        """The stored value, else `default`. The default of the table plays no part."""
        stored = self._stored(key)
        return default if stored is None else self.decode(stored)

    def setdefault(self, key: Any, default: V) -> V:
        """The stored value; if there is none, `default`, which is stored."""
        stored = self._stored(key)
        if stored is not None:
            return self.decode(stored)
        self[key] = default
        return default

    def pop(self, key: Any, default: V = NOTHING) -> V:
        """Delete the key and return its value, else `default`. Raises KeyError without one."""
        stored = self._stored(key)
        if stored is not None:
            self._state().put(self._field(key), None)
            return self.decode(stored)
        if default is NOTHING:
            raise KeyError(key)
        return default

    async def load(self, key: Any) -> None:
        """Read a key that is not the key of the current event, so that it can be used."""
        await self.load_many([key])

    async def load_many(self, keys: Iterable[Any]) -> None:
        """Read several keys in one round trip."""
        here = self._here()
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
        return {
            key: self._made() if value is None else self.decode(value)
            for key, name in names.items()
            if (value := stored[name]) is not None or self._default is not NOTHING
        }

    def decode(self, stored: bytes) -> V:
        """The value in these bytes. Raises DecodeError."""
        return self._codec.loads(stored)

    def _refuse_own(self, key: Any, partition: int) -> None:
        """A handler that may have written the key since the last commit must not `read` it."""
        here = CURRENT_EVENT.get()
        tables = here.tables if here else None
        if (
            tables is not None
            and self.name in tables.state.tables
            and tables.state.prefix == self.stream.prefix(partition)
        ):
            raise HandlerError(
                f"table {self.name}: `read` shows what was last committed, and this handler may "
                f"have written {key!r} since: use `{self.name}[{key!r}]`, after `await "
                f"{self.name}.load({key!r})` if it is not the key of the current event"
            )

    def _made(self) -> V:
        made: V = self._default() if callable(self._default) else self._default
        return made

    def _field(self, key: Any) -> Field:
        return self.name, key_bytes(key)

    def _stored(self, key: Any) -> bytes | None:
        field, state = self._field(key), self._state()
        return self._known(state, field, key)

    def _known(self, state: TableState, field: Field, key: Any) -> bytes | None:
        try:
            return state.get(field)
        except KeyError:
            raise NotLoaded(
                f"table {self.name}: {key!r} is not the key of the current event, so it was not "
                f"read with it: call `await {self.name}.load({key!r})` first"
            ) from None

    def _state(self) -> TableState:
        tables = self._here().tables
        assert tables is not None
        return tables.state

    def _here(self) -> CurrentEvent:
        here = CURRENT_EVENT.get()
        tables = here.tables if here else None
        if tables is not None and tables.closed:
            raise NotInHandler(
                f"table {self.name}: this handler was ended, and what it writes has no effect any "
                "more"
            )
        if here is None or tables is None or self.name not in tables.state.tables:
            raise NotInHandler(
                f"table {self.name} belongs to the stream {self.stream.name}: it can be used while "
                "a worker runs a handler of one of its events"
                + (f", of the processor {self.processor}" if self.processor else "")
            )
        return here
