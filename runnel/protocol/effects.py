"""The call of `transact`: a commit with effects, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.common import CheckpointMove, PartitionKeys, Token
from runnel.protocol.partitions import commit_args
from runnel.protocol.scripts import Call
from runnel.protocol.streams import Entry, flat


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries for the derived stream with the key prefix `sink`, such as dead letters.

    `size` is how many entries it may hold, `when_full` is "refuse" or "drop_oldest".
    """

    sink: str
    size: int
    when_full: str
    entries: Sequence[Entry]

    def names(self) -> tuple[str, ...]:
        return keys.log(self.sink), keys.meta(self.sink)

    def args(self) -> tuple[Arg, ...]:
        return ("stream", self.size, self.when_full, len(self.entries), *flat(self.entries))


@dataclass(frozen=True, slots=True)
class TableWrites:
    """Writes of the table `name` of the partition with the key prefix `prefix`: fields and their
    values, and fields to delete. If `expire` is not None, the commit also removes some of the
    fields that were not written for so many seconds."""

    prefix: str
    name: str
    sets: Sequence[tuple[bytes, bytes]] = ()
    deletes: Sequence[bytes] = ()
    expire: int | None = None

    def names(self) -> tuple[str, ...]:
        if self.expire is None:
            return (keys.table(self.prefix, self.name),)
        return keys.all_of_table(self.prefix, self.name)

    def args(self) -> tuple[Arg, ...]:
        pairs = [each for pair in self.sets for each in pair]
        kind = ("table",) if self.expire is None else ("expiring", self.expire)
        return (*kind, len(self.sets), len(self.deletes), *pairs, *self.deletes)


Effect = Entries | TableWrites


def transact(
    partition_keys: PartitionKeys, token: Token, move: CheckpointMove, effects: Sequence[Effect]
) -> Call:
    """Commit, and write the effects, or refuse all of it. Its reply is that of `commit`."""
    names = [*partition_keys.of_script(), *(name for each in effects for name in each.names())]
    args = [
        *commit_args(partition_keys, token, move),
        *(a for each in effects for a in each.args()),
    ]
    return Call("transact", tuple(names), args)
