"""The call of `transact`: a commit with effects, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.common import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.partitions import commit_args
from runnel.protocol.scripts import Call
from runnel.protocol.streams import Entry, declare, flat


@dataclass(frozen=True, slots=True)
class Sink:
    """A partition of a stream, to which commits of a processor write. It may hold `size` entries.

    `prefix` is the start of its keys. `derived` says if they are in the slot of the processor's own
    partition: then its stream is derived from the processor's stream.
    """

    prefix: str
    contract: StreamContract
    size: int
    derived: bool

    @property
    def log(self) -> str:
        return keys.log(self.prefix)

    def address(self) -> str:
        """The text in an outbox that says where an entry goes: stream, partition, partition count,
        hash function and size."""
        _, _, number = keys.scope(self.prefix)
        stream = self.prefix.rpartition(":")[2]
        return f"{stream} {number} {self.contract.partitions} {self.contract.hash} {self.size}"

    def declarations(self) -> tuple[Call, Call]:
        """The calls, in order, that declare its stream and the partition, or check both."""
        first = keys.first_partition(self.prefix)
        return declare(first, self.contract), declare(self.prefix, self.contract)


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries for a sink, such as dead letters. `when_full` is "refuse" or "drop_oldest"."""

    sink: Sink
    entries: Sequence[Entry]
    when_full: str = "refuse"

    def names(self) -> tuple[str, ...]:
        return self.sink.log, keys.meta(self.sink.prefix)

    def args(self) -> tuple[Arg, ...]:
        head = ("derived" if self.sink.derived else "stream", self.sink.size, self.when_full)
        contract = () if self.sink.derived else self.sink.contract.args()
        return (*head, len(self.entries), *contract, *flat(self.entries))


@dataclass(frozen=True, slots=True)
class OutboxEntries:
    """Entries for streams in other slots: they wait in the processor's outbox, which holds `size`
    entries at most, until they are forwarded."""

    key: str
    size: int
    entries: Sequence[Entry]

    def names(self) -> tuple[str, ...]:
        return (self.key,)

    def args(self) -> tuple[Arg, ...]:
        return ("outbox", self.size, len(self.entries), *flat(self.entries))


@dataclass(frozen=True, slots=True)
class TableWrites:
    """Writes of the table `name` of the partition with the key prefix `prefix`: fields and their
    values, and fields to delete."""

    prefix: str
    name: str
    sets: Sequence[tuple[bytes, bytes]] = ()
    deletes: Sequence[bytes] = ()

    def names(self) -> tuple[str, ...]:
        return (keys.table(self.prefix, self.name),)

    def args(self) -> tuple[Arg, ...]:
        pairs = chain.from_iterable(self.sets)
        return ("table", len(self.sets), len(self.deletes), *pairs, *self.deletes)


Effect = Entries | OutboxEntries | TableWrites


def transact(
    partition_keys: PartitionKeys, token: Token, move: CheckpointMove, effects: Sequence[Effect]
) -> Call:
    """Commit, and write the effects, or refuse all of it. Its reply is that of `commit`."""
    names = [*partition_keys.of_script(), *(name for each in effects for name in each.names())]
    args = [*commit_args(partition_keys, token, move)]
    for each in effects:
        args += each.args()
    return Call("transact", tuple(names), args)
