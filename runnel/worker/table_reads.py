"""Reads fields of tables from Redis: those of events that were read, and those that a handler asks
for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from runnel import keys
from runnel.codec.entry import COMPRESSED
from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.core.table_state import Field, TableState
from runnel.processor import Processor
from runnel.worker.backend import Backend

#: Fields of one command at most, so that Redis serves other clients in between.
FIELDS = 500


async def read_fields(
    backend: Backend, wanted: Sequence[tuple[TableState, Sequence[Field]]]
) -> None:
    """Read fields of several partitions in one round trip to each node.

    Raises redis-py's errors or OSError; then nothing was read.
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
        return
    replies = await backend.read_fields(
        [(keys.table(state.prefix, table), those) for state, table, those in parts]
    )
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    for (state, table, those), values in zip(parts, replies, strict=True):
        for key, value in zip(those, values, strict=True):
            state.learn((table, key), value)


async def read_for(
    backend: Backend, processor: Processor, read: Sequence[tuple[PartitionState, Sequence[Raw]]]
) -> None:
    """Read what the tables have for the keys of events that were read."""
    await read_fields(
        backend,
        [
            (state.tables, state.tables.unknown(entries[-1][0], keys_of(processor, entries)))
            for state, entries in read
            if state.tables is not None and entries
        ],
    )


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
