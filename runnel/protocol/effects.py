"""The call of `transact`: a commit with effects, all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.errors import BadArgument
from runnel.protocol.common import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.parked import parked_names
from runnel.protocol.partitions import commit_args
from runnel.protocol.scripts import Call
from runnel.protocol.streams import Entry, declare, flat, limits


@dataclass(frozen=True, slots=True)
class Sink:
    """A partition of a stream, to which commits of a processor write. It may hold `size` entries.

    `prefix` is the start of its keys. `derived` says if they are in the slot of the processor's own
    partition: then its stream is derived from the processor's stream. `max_age` is the age in ms at
    which committed entries leave, 0 for none. `when_full` is "refuse" or "drop_unread".
    """

    prefix: str
    contract: StreamContract
    size: int
    derived: bool
    max_age: int = 0
    when_full: str = "refuse"

    @property
    def limits(self) -> int | str:
        """Its size and age, as scripts take them."""
        return limits(self.size, self.max_age)

    @property
    def log(self) -> str:
        return keys.log(self.prefix)

    def address(self) -> str:
        """The text in an outbox that says where an entry goes: stream, partition, partition count,
        hash function, size, and `drop_unread` if that is what happens when it is full."""
        _, _, number = keys.scope(self.prefix)
        stream = self.prefix.rpartition(":")[2]
        last = "" if self.when_full == "refuse" else f" {self.when_full}"
        contract = f"{self.contract.partitions} {self.contract.hash}"
        return f"{stream} {number} {contract} {self.limits}{last}"

    @classmethod
    def at(cls, app: str, address: str) -> Sink:
        """The sink with this address in an app. Raises BadArgument if it is none."""
        words = address.split(" ")
        how = words.pop() if words[5:] == ["drop_unread"] else "refuse"
        size, comma, age = words[-1].partition(",")
        decimal = (*words[1:3], size, age if comma else "0")
        if len(words) != 5 or not all(each.isdecimal() for each in decimal):
            raise BadArgument(f"BADARG {address!r} does not say where an entry of the outbox goes")
        stream, number, partitions, hash_, _ = words
        prefix = keys.partition(app, stream, int(number), stream)
        contract = StreamContract(int(partitions), hash_)
        return cls(prefix, contract, int(size), False, int(age or 0), how)

    def declarations(self) -> tuple[Call, Call]:
        """The calls, in order, that declare its stream and the partition, or check both."""
        first = keys.first_partition(self.prefix)
        return declare(first, self.contract), declare(self.prefix, self.contract)


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries for a sink, such as dead letters. `when_full`, if not empty, goes before that of the
    sink."""

    sink: Sink
    entries: Sequence[Entry]
    when_full: str = ""

    def names(self) -> tuple[str, ...]:
        return self.sink.log, keys.meta(self.sink.prefix)

    def args(self) -> tuple[Arg, ...]:
        how = self.when_full or self.sink.when_full
        head = ("derived" if self.sink.derived else "stream", self.sink.limits, how)
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
class OutboxTrim:
    """What leaves an outbox: the entries up to the id `last`, so that up to the number `done`
    nothing is left to forward; so many were `lost`. `waits_for` is the stream that has no room for
    the next one, for this `reason`, or empty."""

    last: str
    done: int
    lost: int
    waits_for: str = ""
    reason: str = ""


def trim_outbox(partition_keys: PartitionKeys, token: Token, trim: OutboxTrim) -> Call:
    """Remove forwarded entries from the outbox of a processor."""
    names = (partition_keys.state, partition_keys.outbox)
    args = (token.epoch, token.nonce, trim.last, trim.done, trim.lost)
    return Call("trim_outbox", names, (*args, trim.waits_for, trim.reason[:1000]))


def outbox_sender(partition_keys: PartitionKeys) -> str:
    """The name under which targets remember what a processor has forwarded."""
    _, _, number = keys.scope(partition_keys.prefix)
    stream = partition_keys.prefix.rpartition(":")[2]
    return f"outbox:{stream}:{number}:{partition_keys.processor}"


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
        pairs = chain.from_iterable(self.sets)
        kind = ("table",) if self.expire is None else ("expiring", self.expire)
        return (*kind, len(self.sets), len(self.deletes), *pairs, *self.deletes)


@dataclass(frozen=True, slots=True)
class ParkedEntries:
    """Events of the processor that step aside: at most `size` may be parked. See `parked_entry`."""

    of: PartitionKeys
    size: int
    entries: Sequence[Entry]

    def names(self) -> tuple[str, ...]:
        return parked_names(self.of)[:2]

    def args(self) -> tuple[Arg, ...]:
        return ("park", self.size, len(self.entries), *flat(self.entries))


@dataclass(frozen=True, slots=True)
class PostponedEntries:
    """Events of the processor that step aside until they are due, in `ms`: at most `size` may be
    parked. See `parked_entry` and `postponed_key`."""

    of: PartitionKeys
    ms: int
    size: int
    entries: Sequence[Entry]

    def names(self) -> tuple[str, ...]:
        return (*parked_names(self.of)[:2], self.of.postponed)

    def args(self) -> tuple[Arg, ...]:
        return ("postpone", self.ms, self.size, len(self.entries), *flat(self.entries))


@dataclass(frozen=True, slots=True)
class Replayed:
    """Parked events that are finished, by the ids of their entries. Some may be postponed."""

    of: PartitionKeys
    entries: Sequence[str]

    def names(self) -> tuple[str, ...]:
        return (*parked_names(self.of), self.of.postponed)

    def args(self) -> tuple[Arg, ...]:
        return ("replayed", len(self.entries), *self.entries)


Effect = Entries | OutboxEntries | ParkedEntries | PostponedEntries | Replayed | TableWrites


def transact(
    partition_keys: PartitionKeys, token: Token, move: CheckpointMove, effects: Sequence[Effect]
) -> Call:
    """Commit, and write the effects, or refuse all of it. Its reply is that of `commit`."""
    names = [*partition_keys.of_script(), *(name for each in effects for name in each.names())]
    args = [*commit_args(partition_keys, token, move)]
    for each in effects:
        args += each.args()
    return Call("transact", tuple(names), args)
