"""What calls add to partitions and write to tables, as the model of the simulator does it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from runnel.protocol.scripts import Call
from tests.simulation.removals import Removal
from tests.simulation.stored import Fields, Log, Partition, Refused, parts, split


def check_writer(partition: Partition, processor: str, key: str) -> None:
    """Another processor must not have written a table."""
    if partition.meta.get(f"table:{split(key)[2]}", processor) != processor:
        raise Refused("NOT_WRITER")


def write(partition: Partition, processor: str, key: str, effect: Sequence[Any]) -> None:
    """Write to a table."""
    name, table = split(key)[2], partition.tables.setdefault(split(key)[2], {})
    partition.meta[f"table:{name}"] = processor
    values = [_bytes(each) for each in effect[3:]]
    pairs = 2 * int(effect[1])
    table.update(zip(values[:pairs:2], values[1:pairs:2], strict=True))
    for deleted in values[pairs:]:
        table.pop(deleted, None)


def sinks_of(call: Call) -> list[tuple[str, list[Fields]]]:
    """The keys of the logs, and of the outbox, to which a commit adds entries, and these."""
    found: list[tuple[str, list[Fields]]] = []
    at, key = 7, 3
    while call.script == "transact" and at < len(call.args):
        end, first = effect_end(call.args, at), entries_of(call.args, at)
        if first:
            found.append((call.keys[key], entries_in(call.args[first:end])))
        key, at = key + (2 if call.args[at] in ("derived", "stream") else 1), end
    return found


def entries_of(args: Sequence[Any], at: int) -> int:
    """Where the entries begin of the effect that begins at `at`; 0 if it has none."""
    return {"table": 0, "derived": at + 4, "stream": at + 7, "outbox": at + 3}[str(args[at])]


def effect_end(args: Sequence[Any], at: int) -> int:
    """Where the effect ends that begins at `at`."""
    if not (end := entries_of(args, at)):
        return at + 3 + 2 * int(args[at + 1]) + int(args[at + 2])
    for _ in range(int(args[at + (2 if args[at] == "outbox" else 3)])):
        end += int(args[end]) + 1
    return end


def entries_in(flat: Sequence[Any]) -> list[Fields]:
    """The entries in arguments: for each the number of its fields and values, then these."""
    entries, at = [], 0
    while at < len(flat):
        width = int(flat[at])
        entries.append(tuple(_bytes(each) for each in flat[at + 1 : at + 1 + width]))
        at += width + 1
    return entries


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def add_to_outbox(outbox: Log, state: dict[str, str], new: Sequence[Fields]) -> None:
    written = int(state.get("outbox_last", 0))
    for i, entry in enumerate(new):
        outbox.last = f"{state['epoch']}-{written + i + 1}"
        outbox.entries[outbox.last] = entry
    state["outbox_last"] = str(written + len(new))


def add(
    partition: Partition, entries: Iterable[Fields], ids: Sequence[str], removal: Removal
) -> None:
    """Add entries under these ids, and then remove what makes room for them, or is too old."""
    log = partition.log = partition.log or Log()
    for id_, entry in zip(ids, entries, strict=True):
        assert parts(id_) > parts(log.last), f"{id_} is not larger than {log.last}"
        log.entries[id_] = entry
        log.last = id_
        log.added += 1
        partition.known[id_] = entry
    removal.apply(partition)
