"""Calls about a stream: declare it, append to a partition, delete one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.common import StreamContract, text
from runnel.protocol.scripts import Call

Entry = Sequence[bytes]


def flat(entries: Iterable[Entry]) -> list[Arg]:
    """The arguments for entries: for each the number of its fields and values, then these."""
    values: list[Arg] = []
    for entry in entries:
        values += (len(entry), *entry)
    return values


def limits(size: int, max_age: int = 0) -> int | str:
    """How many entries a partition may hold, and from which age in ms on committed ones leave, as
    the scripts that append take it. The age 0 is none."""
    return f"{size},{max_age}" if max_age else size


def declare(prefix: str, contract: StreamContract) -> Call:
    """Create a partition with this contract, or check that it has it. Partition 0 stands for the
    stream."""
    return Call("declare", (keys.meta(prefix),), contract.args())


class Appends:
    """Builds appends to one partition. Builds the arguments that all of them share only once.

    `size` is that of `limits`."""

    def __init__(self, prefix: str, contract: StreamContract, size: Arg) -> None:
        self._keys = (keys.log(prefix), keys.meta(prefix), keys.producers(prefix))
        self._args: tuple[Arg, ...] = (*contract.args(), size)
        self._head = Call("append", self._keys, self._args).command()

    def call(self, when_full: str, producer: str, sequence: int, entries: Iterable[Entry]) -> Call:
        """Add events to the partition, at most once per producer and sequence number."""
        args = (*self._args, when_full, producer, sequence, *flat(entries))
        return Call("append", self._keys, args)

    def command(
        self, when_full: str, producer: str, sequence: int, entry: Entry
    ) -> tuple[Arg, ...]:
        """The Redis command of a call with one entry, built faster."""
        return (*self._head, when_full, producer, sequence, len(entry), *entry)


def append(
    prefix: str,
    contract: StreamContract,
    size: Arg,
    when_full: str,
    producer: str,
    sequence: int,
    entries: Iterable[Entry],
) -> Call:
    """Add events to a partition, at most once per producer and sequence number."""
    return Appends(prefix, contract, size).call(when_full, producer, sequence, entries)


class Appended(NamedTuple):
    """Reply of `append`: the ids of the events."""

    applied: bool
    ids: list[str]


def read_append(reply: Sequence[Any]) -> Appended:
    return Appended(bool(reply[0]), appended_ids(reply))


def appended_ids(reply: Sequence[Any]) -> list[str]:
    """The ids of the events."""
    _, first, count = reply
    return _ids_from(text(first), count)


def _ids_from(first: str, count: int) -> list[str]:
    """The ids of so many events that were added in one call."""
    if count < 2:
        return [first] * count
    ms, _, sequence = first.partition("-")
    start = int(sequence)
    over = max(0, start + count - 2**64)  # The others have the next millisecond.
    ids = [f"{ms}-{i}" for i in range(start, start + count - over)]
    return ids + [f"{int(ms) + 1}-{i}" for i in range(over)] if over else ids


def appended_id(reply: Sequence[Any]) -> str:
    """The id of the first event."""
    return text(reply[1])


NumberedEntry = tuple[str, Entry]


def append_numbered(
    prefix: str,
    contract: StreamContract,
    size: Arg,
    when_full: str,
    sender: str,
    entries: Iterable[NumberedEntry],
) -> Call:
    """Add events to a partition, each at most once per sender and number.

    `sender` is ``producer:ID`` or ``outbox:NAME``. Each entry has its number before it: a text of
    two integers, such as ``0-17``, larger than the one before.
    """
    names = (keys.log(prefix), keys.meta(prefix), keys.numbers(prefix))
    values: list[Arg] = []
    for number, entry in entries:
        values += (number, len(entry), *entry)
    return Call("append_numbered", names, (*contract.args(), size, when_full, sender, *values))


class AppendedNumbered(NamedTuple):
    """Reply of `append_numbered`.

    `added` is how many events this call added. `ids` are those of the last events of the call: of
    all that it added, or that the first of several repeats added; the events before them were
    there. `last` is the last number of the sender that the partition remembers.
    """

    added: int
    ids: list[str]
    last: str


def read_append_numbered(reply: Sequence[Any]) -> AppendedNumbered:
    added, first, count, last = reply
    return AppendedNumbered(added, _ids_from(text(first), count), text(last))


def append_once(
    prefix: str,
    contract: StreamContract,
    size: Arg,
    when_full: str,
    key: str,
    window: int,
    entry: Entry,
) -> Call:
    """Add an event to a partition, unless one was added under this key less than `window` ms ago.
    Its reply is that of `append`."""
    names = (keys.log(prefix), keys.meta(prefix), keys.dedupe(prefix, key))
    args = (*contract.args(), size, when_full, window, len(entry), *entry)
    return Call("append_once", names, args)


def delete(prefix: str, tables: Iterable[str] = ()) -> Call:
    """Delete the partition with this prefix, all its events, and its tables: all that meta names,
    else BadArgument is raised."""
    kinds = (keys.log, keys.meta, keys.producers, keys.numbers, keys.delayed)
    names = [kind(prefix) for kind in kinds]
    names += [key for each in tables for key in keys.all_of_table(prefix, each)]
    return Call("delete", tuple(names), ())


def trim(prefix: str, size: int, max_age: int, when_full: str) -> Call:
    """Remove old events of a partition, as far as `when_full` allows: "refuse" removes only what
    every processor has committed. `size` is how many may stay, `max_age` their age in ms: one of
    them is 0, and does not matter."""
    return Call("trim", (keys.log(prefix), keys.meta(prefix)), (size, max_age, when_full))


class Trimmed(NamedTuple):
    """Reply of `trim`: how many events it removed, whether the same call would remove more, and the
    processor for which others stay that should leave; "-" if they stay because nobody reads the
    stream, empty if none does."""

    removed: int
    more: bool
    kept_for: str


def read_trim(reply: Sequence[Any]) -> Trimmed:
    return Trimmed(int(reply[0]), bool(reply[1]), text(reply[2]))
