"""`Table`: what a processor remembers for each key, written with its commits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from runnel import keys
from runnel.codec.partitioning import key_bytes
from runnel.codec.values import ValueCodec
from runnel.core.table_state import Field, TableState
from runnel.delivery.current_event import CURRENT_EVENT, CurrentEvent
from runnel.errors import NotInHandler, NotLoaded
from runnel.stream import StreamSpec

V = TypeVar("V")
D = TypeVar("D")
#: No default.
NOTHING: Any = object()


class Table(Generic[V]):
    """A map from keys to values, which lives beside the events of a stream.

    Inside a handler it is used like a dict. What is written there is stored by the commit that
    covers the event, or not at all: if the handler fails, its writes are undone. Keys are those
    that a partition key may be: text, integers, UUIDs, bytes. Each partition has a part of its own,
    so use the key of the event, or one that comes only with events of the same partition.

    Only one processor may write the table: `processor`, else the first that does.
    """

    def __init__(
        self,
        name: str,
        stream: StreamSpec[Any],
        value: Any,
        default: V | Callable[[], V] = NOTHING,
        processor: str | None = None,
    ) -> None:
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
            return self._codec.loads(stored)
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
        return default if stored is None else self._codec.loads(stored)

    def setdefault(self, key: Any, default: V) -> V:
        """The stored value; if there is none, `default`, which is stored."""
        stored = self._stored(key)
        if stored is not None:
            return self._codec.loads(stored)
        self[key] = default
        return default

    def pop(self, key: Any, default: V = NOTHING) -> V:
        """Delete the key and return its value, else `default`. Raises KeyError without one."""
        stored = self._stored(key)
        if stored is not None:
            self._state().put(self._field(key), None)
            return self._codec.loads(stored)
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
        state = self._here().tables
        assert state is not None
        return state

    def _here(self) -> CurrentEvent:
        here = CURRENT_EVENT.get()
        tables = here.tables if here else None
        if here is None or tables is None or self.name not in tables.tables:
            raise NotInHandler(
                f"table {self.name} belongs to the stream {self.stream.name}: it can be used while "
                "a worker runs a handler of one of its events"
                + (f", of the processor {self.processor}" if self.processor else "")
            )
        if here.over is not None and here.over():
            raise NotInHandler(
                f"table {self.name}: the worker has ended this run of the handler, so its events "
                "are processed again: nothing that it still does has an effect on the table"
            )
        return here
