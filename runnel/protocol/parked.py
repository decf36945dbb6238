"""Calls about parked events: events of a processor that are set aside, key by key, in order.

An entry of the parked events begins with these fields: ``key``, ``event`` (its id), ``attempts``,
``error_type`` and ``error_message``. The fields of the event follow, unchanged. An event that never
failed, but queues behind another one of its key, has 0 attempts. How it failed may come last: see
`runnel.protocol.failed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runnel import keys
from runnel.connection.redis_client import Arg
from runnel.protocol.common import PartitionKeys, Token, text
from runnel.protocol.failed import UNTOLD, Failed, read_failed, with_failed
from runnel.protocol.scripts import Call
from runnel.protocol.streams import Entry

_HEAD = (b"key", b"event", b"attempts", b"error_type", b"error_message")
#: What a value of the parked keys ends with if replays of its event have failed.
_REPLAYS = re.compile(r"\n(\d{1,15}) (\d{1,15})\Z")


def parked_entry(
    key: bytes,
    event: str,
    fields: Entry,
    attempts: int = 0,
    error: tuple[str, str] = ("", ""),
    failed: Failed = UNTOLD,
) -> Entry:
    """The entry of a parked event. `error` is type and message, and `failed` what else is known of
    it."""
    values = (key, event, attempts, error[0][:200], error[1][:1000])
    head = [
        each if isinstance(each, bytes) else str(each).encode(errors="replace") for each in values
    ]
    values_of_head = (each for pair in zip(_HEAD, head, strict=True) for each in pair)
    return [*values_of_head, *with_failed(fields, failed)]


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An entry of the parked events, with its id `entry`."""

    entry: str
    key: bytes
    event: str
    attempts: int
    error_type: str
    error_message: str
    fields: Sequence[bytes]
    failed: Failed = UNTOLD


def read_parked(entry: Any, values: Sequence[bytes]) -> ParkedEvent:
    """A parked event, from the id and the fields and values of its entry."""
    _, key, _, event, _, attempts, _, error_type, _, message = values[:10]
    failed, fields = read_failed(values[10:])
    return ParkedEvent(
        text(entry),
        key,
        text(event),
        int(attempts),
        error_type.decode(errors="replace"),
        message.decode(errors="replace"),
        fields,
        failed,
    )


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """How many events of a key are parked, and if its last replay failed: at which event, after how
    many attempts, and how; how many replays of that event have failed, and when the last one did,
    in ms, both 0 if that is unknown."""

    count: int
    event: str = ""
    attempts: int = 0
    error_type: str = ""
    error_message: str = ""
    replays: int = 0
    at_ms: int = 0


def read_parked_key(value: bytes) -> ParkedKey:
    """From a value of the hash of parked keys."""
    words = value.decode(errors="replace")
    end = _REPLAYS.search(words)
    count, *failure = words[: end and end.start()].split(" ", 4)
    if len(failure) < 4:
        return ParkedKey(int(count))
    event, attempts, error_type, message = failure
    replays, at_ms = map(int, end.groups()) if end else (0, 0)
    return ParkedKey(int(count), event, int(attempts), error_type, message, replays, at_ms)


def parked_names(of: PartitionKeys) -> tuple[str, str, str]:
    """The keys of what is parked: the events, the keys, and the keys to be replayed."""
    return (
        keys.parked(of.prefix, of.processor),
        keys.parked_keys(of.prefix, of.processor),
        keys.replay(of.prefix, of.processor),
    )


def park_again(
    of: PartitionKeys,
    token: Token,
    key: bytes,
    event: str,
    attempts: int,
    error: tuple[str, str],
) -> Call:
    """A replayed event has failed again: its key stays parked, and is replayed no further."""
    names = of.state, *parked_names(of)[1:]
    failure = failure_text(event, attempts, error)
    return Call("park_again", names, (token.epoch, token.nonce, key, failure))


def failure_text(event: str, attempts: int, error: tuple[str, str]) -> bytes:
    """How a parked event has failed, as scripts take it. `error` is type and message."""
    failure = f"{event} {attempts} {error[0].replace(' ', '')} {error[1]}"
    return failure.encode(errors="replace")[:1200]


def replay(of: PartitionKeys, chosen: Iterable[bytes], nonce: str) -> Call:
    """Have the parked events of these keys, at most 500, processed. Ends the processor's lease."""
    return Call("replay", (of.state, *parked_names(of)[1:]), (nonce, *chosen))


def drop_parked(of: PartitionKeys, entries: Iterable[str], nonce: str) -> Call:
    """Delete these entries, at most 100, of the parked events. Ends the processor's lease."""
    return Call("drop_parked", (of.state, *parked_names(of), of.postponed), (nonce, *entries))


def take_letters(
    of: PartitionKeys, letters: str, taken: Iterable[tuple[str, Entry]], size: int, nonce: str
) -> Call:
    """Take dead letters, at most 100, out of the partition with the prefix `letters`. `taken` has
    their ids, each with an entry to be parked and replayed, or an empty one to drop the letter."""
    names = (keys.log(letters), keys.meta(letters), of.state, *parked_names(of))
    args: list[Arg] = [nonce, size]
    for letter, entry in taken:
        args += (letter, len(entry), *entry)
    return Call("take_letters", names, args)
