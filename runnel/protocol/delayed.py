"""Calls about delayed events: keep some, promote those that are due, cancel one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from runnel import keys
from runnel.protocol.common import StreamContract, text
from runnel.protocol.scripts import Call
from runnel.protocol.streams import Entry, flat


def append_later(
    prefix: str,
    contract: StreamContract,
    size: int,
    due: tuple[str, int],
    key: str,
    window: int,
    entries: Iterable[Entry],
) -> Call:
    """Keep events in a partition until they are due, once per request `key` in `window` ms.

    `due` is ``at`` and ms since 1970, or ``delay`` and ms from now.
    """
    names = (keys.meta(prefix), keys.delayed(prefix), keys.delayed_request(prefix, key))
    return Call("append_later", names, (*contract.args(), size, *due, window, *flat(entries)))


class AppendedLater(NamedTuple):
    """Reply of `append_later`: when the events are due, in ms since 1970, and their order
    numbers."""

    applied: bool
    due: int
    orders: range


def read_append_later(reply: Sequence[Any]) -> AppendedLater:
    added, due, first, count = reply
    return AppendedLater(bool(added), due, range(first, first + count))


def promote(prefix: str, contract: StreamContract, size: int, when_full: str = "refuse") -> Call:
    """Move the events of a partition that are due into its log."""
    names = (keys.log(prefix), keys.meta(prefix), keys.delayed(prefix))
    return Call("promote", names, (*contract.args(), size, when_full))


class Promoted(NamedTuple):
    """Reply of `promote`. `next_in` is the ms until the next event is due, None if none waits;
    `lost` are events that have disappeared, or cannot be read."""

    moved: int
    waiting: int
    next_in: int | None
    lost: int


def read_promote(reply: Sequence[Any]) -> Promoted:
    moved, waiting, next_in, lost = reply
    return Promoted(moved, waiting, None if next_in < 0 else next_in, lost)


def cancel(prefix: str, due: int, order: int) -> Call:
    """Remove a delayed event. The reply is 1, or 0 if it does not wait any more."""
    return Call("cancel", (keys.meta(prefix), keys.delayed(prefix)), (due, order))


class DelayedEntry(NamedTuple):
    """A delayed event as it is stored: when it is due, in ms since 1970, its order number, and the
    fields and values of its entry in turn."""

    due: int
    order: int
    entry: list[bytes]


def read_delayed(member: bytes, score: Any) -> DelayedEntry | None:
    """A member of the sorted set, or None if no script has written it."""
    head, newline, body = member.partition(b"\n")
    order, *lengths = head.split(b" ")
    if not newline or not lengths or not all(each.isdigit() for each in (order, *lengths)):
        return None
    entry, at = list[bytes](), 0
    for length in map(int, lengths):
        entry.append(body[at : at + length])
        at += length
    return DelayedEntry(int(float(text(score))), int(order), entry) if at == len(body) else None
