"""Reads fields of tables from Redis: those of events that were read, and those that a handler asks
for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from redis.exceptions import ResponseError

from runnel import keys
from runnel.codec.entry import COMPRESSED
from runnel.connection.deployment import Command
from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.core.table_state import Field, LentValues, TableState
from runnel.processor import Processor
from runnel.protocol import text
from runnel.worker.backend import Backend

#: Fields of one command at most, so that Redis serves other clients in between.
FIELDS = 500


async def read_fields(
    backend: Backend, wanted: Sequence[tuple[TableState, Sequence[Field]]]
) -> None:
    """Read fields of several partitions in one round trip to each node.

    Raises redis-py's errors or OSError; then nothing was read.
    """
    for error in (await _read(backend, wanted)).values():
        raise error


async def _read(
    backend: Backend, wanted: Sequence[tuple[TableState, Sequence[Field]]]
) -> dict[TableState, Exception]:
    """Read fields. Returns the error of each partition with a key that is no hash.

    Raises any other error; then nothing was read.
    """
    parts: list[tuple[TableState, str, list[bytes]]] = []
    for state, fields in wanted:
        by_table: defaultdict[str, list[bytes]] = defaultdict(list)
        for table, key in fields:
            by_table[table].append(key)
        for table, those in by_table.items():
            parts += [
                (state, table, those[at : at + FIELDS]) for at in range(0, len(those), FIELDS)
            ]
    if not parts:
        return {}
    replies = await backend.read_fields(
        [(keys.table(state.prefix, table), those) for state, table, those in parts]
    )
    wrong: dict[TableState, Exception] = {}
    for (state, _, _), reply in zip(parts, replies, strict=True):
        if is_wrong_type(reply):
            wrong[state] = reply
        elif isinstance(reply, Exception):
            raise reply
    for (state, table, those), values in zip(parts, replies, strict=True):
        if state not in wrong:
            for key, value in zip(those, values, strict=True):
                state.learn((table, key), value)
    return wrong


class HandlerReads:
    """Reads the fields that handlers of one partition ask for."""

    def __init__(self, backend: Backend, state: PartitionState) -> None:
        self._backend = backend
        self._state = state
        #: Another program has written the key of a table, so that the partition was ended.
        self.table_unusable = False

    async def load(self, tables: LentValues, fields: Sequence[Field]) -> None:
        """Read those of the fields that `tables` does not know. Raises redis-py's errors, OSError
        and what `unknown_of` raises."""
        shared = self._state.tables
        assert shared is not None
        try:
            await read_fields(self._backend, [(shared, tables.unknown_of(fields))])
        except ResponseError as error:
            if is_wrong_type(error):  # No fault of the event. It will be found again.
                self.table_unusable = True
                self._state.end()
            raise


def is_wrong_type(reply: object) -> bool:
    """Did Redis refuse a command because its key has another type?"""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


async def read_for(
    backend: Backend,
    processor: Processor,
    read: Sequence[tuple[PartitionState, Sequence[Raw]]],
    on_wrong_key: Callable[[PartitionState], None],
) -> None:
    """Read what the tables have for the keys of events that were read.

    A partition with a table that cannot be read is ended: what was read of its log is dropped.
    """
    wanted = [(state, state.tables, entries) for state, entries in read if state.tables and entries]
    wrong = await _read(
        backend,
        [
            (tables, tables.unknown(entries[-1][0], keys_of(processor, entries)))
            for _, tables, entries in wanted
        ],
    )
    for state, tables, _ in wanted:
        if tables in wrong:
            state.end()
            on_wrong_key(state)


async def wrong_key(backend: Backend, processor: Processor, partition: int) -> str | None:
    """The first key of the tables of a partition that has another type than it should."""
    prefix = processor.keys(partition).prefix
    commands: list[Command] = []
    for name in processor.tables:
        table, expiry = keys.all_of_table(prefix, name)
        commands.append((table, ("HMGET", table, "")))
        if name in processor.expire:
            commands.append((expiry, ("ZCARD", expiry)))
    for (key, _), reply in zip(commands, await backend.outcomes(commands), strict=True):
        if is_wrong_type(reply):
            return text(key)
        if isinstance(reply, Exception):
            raise reply
    return None


def keys_of(processor: Processor, entries: Sequence[Raw]) -> list[bytes]:
    """The partition keys of events. One that cannot be decoded has none: its handler never gets
    it.

    Each must be decoded for that, and its record stays with it, so that it need not be decoded
    again for the handler. Not that of a compressed one: all together could take far more memory
    than the events.
    """
    found: dict[bytes, None] = {}
    key, decode = processor.stream.key, processor.stream.codec.decode
    for raw in entries:
        try:
            record = decode(raw[1])
            found[key(record)] = None
        except Exception:  # Raised again, where it is the failure of the event.
            continue
        if COMPRESSED not in raw[1][0]:
            raw.append(record)
    return list(found)
