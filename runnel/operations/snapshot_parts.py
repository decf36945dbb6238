"""What snapshots of tables there are, by partition, and how to delete one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runnel import protocol
from runnel.processor import Processor
from runnel.protocol import SnapshotKeys
from runnel.protocol.scripts import Scripts


@dataclass(frozen=True)
class Part:
    """A snapshot on one partition. `at_ms` is when it was complete, None if it is not; `read` how
    many events had been added up to the checkpoint. `tables` is name -> number of keys."""

    id: str
    at_ms: int | None
    checkpoint: str
    read: int
    tables: dict[str, int]


@dataclass(frozen=True)
class Snapshot:
    """The parts of a snapshot by partition."""

    name: str
    parts: dict[int, Part] = field(default_factory=dict)

    def complete(self, processor: Processor) -> bool:
        """Does every partition have a complete part?"""
        whole = [each for each in self.parts.values() if each.at_ms is not None]
        return len(whole) == processor.stream.partition_count

    @property
    def at_ms(self) -> int | None:
        """When its first part was taken."""
        return min((each.at_ms for each in self.parts.values() if each.at_ms), default=None)

    @property
    def tables(self) -> dict[str, int]:
        """Table -> number of keys."""
        found: dict[str, int] = {}
        for part in self.parts.values():
            for table, number in part.tables.items():
                found[table] = found.get(table, 0) + number
        return dict(sorted(found.items()))


async def snapshots_of(scripts: Scripts, processor: Processor) -> dict[str, Snapshot]:
    """The snapshots of a processor by name."""
    found: dict[str, Snapshot] = {}
    wanted: list[tuple[int, SnapshotKeys]] = []
    numbers = range(processor.stream.partition_count)
    metas = [processor.keys(number).meta for number in numbers]
    for number, fields in zip(numbers, await hashes(scripts, metas), strict=True):
        for each in fields:
            kind, _, rest = each.partition(":")
            name, _, of = rest.partition(":")
            if kind == "snapshot" and of == processor.name:
                wanted.append((number, SnapshotKeys(processor.keys(number), name)))
    records = await hashes(scripts, [at.record for _, at in wanted])
    for (number, at), record in zip(wanted, records, strict=True):
        found.setdefault(at.name, Snapshot(at.name)).parts[number] = part_of(record)
    return dict(sorted(found.items()))


def part_of(record: Mapping[str, str]) -> Part:
    """A part of a snapshot, from its record."""
    return Part(
        id=record.get("id", ""),
        at_ms=int(record["at"]) if "at" in record else None,
        checkpoint=record.get("checkpoint", ""),
        read=int(record.get("read", "0")),
        tables={
            name.removeprefix("table:"): int(number or 0)
            for name, number in record.items()
            if name.startswith("table:")
        },
    )


async def hashes(scripts: Scripts, names: Sequence[str]) -> list[dict[str, str]]:
    """The fields of several hashes."""
    found = []
    for reply in await scripts.deployment.ask([(each, ("HGETALL", each)) for each in names]):
        flat = [protocol.text(each) for each in reply]
        found.append(dict(zip(flat[::2], flat[1::2], strict=True)))
    return found


def tables_in(meta: Mapping[str, str], processor: str) -> list[str]:
    """The tables that a processor writes, from the fields of meta."""
    return sorted(
        name.removeprefix("table:")
        for name, writer in meta.items()
        if name.startswith("table:") and writer == processor
    )


async def delete(scripts: Scripts, processor: Processor, snapshot: Snapshot) -> None:
    """Delete a snapshot with its copies. To repeat it is safe."""
    for number, part in snapshot.parts.items():
        await forget(scripts, SnapshotKeys(processor.keys(number), snapshot.name), part.tables)


async def forget(scripts: Scripts, at: SnapshotKeys, tables: Iterable[str]) -> None:
    """Delete a snapshot on one partition, with the copies of these tables."""
    names = [key for table in tables for key in (*at.taken(table)[2:], *at.staged(table))]
    for command in (("UNLINK", at.record, *names), ("HDEL", at.of.meta, at.field)):
        await scripts.deployment.ask([(at.record, command)])
