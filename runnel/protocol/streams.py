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


def declare(prefix: str, contract: StreamContract) -> Call:
    """Create a partition with this contract, or check that it has it. Partition 0 stands for the
    stream."""
    return Call("declare", (keys.meta(prefix),), contract.args())


class Appends:
    """Builds appends to one partition. Builds the arguments that all of them share only once."""

    def __init__(self, prefix: str, contract: StreamContract, size: int) -> None:
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
    size: int,
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
    if count == 1:
        return [text(first)]
    ms, _, sequence = text(first).partition("-")
    start = int(sequence)
    over = max(0, start + count - 2**64)  # The others have the next millisecond.
    ids = [f"{ms}-{i}" for i in range(start, start + count - over)]
    return ids + [f"{int(ms) + 1}-{i}" for i in range(over)] if over else ids


def appended_id(reply: Sequence[Any]) -> str:
    """The id of the first event."""
    return text(reply[1])


def delete(prefix: str, tables: Iterable[str] = ()) -> Call:
    """Delete the partition with this prefix, all its events, and its tables: all that meta names,
    else BadArgument is raised."""
    names = [keys.log(prefix), keys.meta(prefix), keys.producers(prefix)]
    names += [key for each in tables for key in keys.all_of_table(prefix, each)]
    return Call("delete", tuple(names), ())
