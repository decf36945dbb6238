"""Calls about snapshots: copies of a processor's tables with their checkpoint, by partition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from runnel import keys
from runnel.protocol.common import PartitionKeys, text
from runnel.protocol.scripts import Call

#: The field of meta that names a snapshot begins with this.
NAMED = "snapshot:"


@dataclass(frozen=True, slots=True)
class SnapshotKeys:
    """The keys of the snapshot `name` of one processor on one partition."""

    of: PartitionKeys
    name: str

    @property
    def record(self) -> str:
        return keys.snapshot(self.of.prefix, self.name, self.of.processor)

    @property
    def field(self) -> str:
        """The field of meta that names the snapshot."""
        return f"{NAMED}{self.name}:{self.of.processor}"

    def taken(self, table: str) -> tuple[str, ...]:
        """Both keys of a table, and those of its copy."""
        own = keys.all_of_table(self.of.prefix, table)
        return (*own, *keys.all_of_table(self.record, table))

    def restored(self, table: str) -> tuple[str, ...]:
        """Both keys of a copy, and those of the copy of it that is put in place."""
        return (*keys.all_of_table(self.record, table), *self.staged(table))

    def staged(self, table: str) -> tuple[str, str]:
        """Both keys of the copy that is put in place."""
        return keys.all_of_table(keys.restoring(self.record), table)


def snapshot(
    at: SnapshotKeys, tables: Iterable[str], step: Literal["begin", "finish"], id_: str
) -> Call:
    """Begin a snapshot with these tables, or finish it once they were copied."""
    names = [key for table in tables for key in at.taken(table)]
    args = (at.of.processor, step, id_)
    return Call("snapshot", (at.of.meta, at.of.state, at.record, *names), args)


@dataclass(frozen=True, slots=True)
class SnapshotReply:
    """Reply of `snapshot`. After "finish" it is not `whole` if the partition has changed
    meanwhile."""

    whole: bool
    checkpoint: str


def read_snapshot(reply: Sequence[Any]) -> SnapshotReply:
    return SnapshotReply(bool(reply[0]), text(reply[1]))


def copy_table(
    at: SnapshotKeys, copied: Sequence[str], id_: str, cursor: str, count: int, shift: int = 0
) -> Call:
    """Copy one page of a table. `copied` is what `SnapshotKeys` has for it, `shift` the ms by which
    the time of the last write of each key is moved."""
    return Call("copy_table", (at.record, *copied), (id_, cursor, count, shift))


@dataclass(frozen=True, slots=True)
class Page:
    """Reply of `copy_table`. The last page has the cursor 0."""

    cursor: str
    fields: int
    bytes: int


def read_copy_table(reply: Sequence[Any]) -> Page:
    return Page(text(reply[0]), int(reply[1]), int(reply[2]))


def restore(at: SnapshotKeys, tables: Iterable[str], id_: str, lost: int, nonce: str) -> Call:
    """Put the copies of these tables in place, with the checkpoint of the snapshot, although up to
    `lost` events after it are missing. Its reply is that of `seek`."""
    names = [
        key
        for table in tables
        for key in (*keys.all_of_table(at.of.prefix, table), *at.staged(table))
    ]
    args = (at.of.processor, id_, lost, nonce)
    return Call("restore", (*at.of.of_script(), at.record, *names), args)
