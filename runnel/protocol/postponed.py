"""Calls about postponed events: parked events with a due time, at which they are tried again.

Each has a parked key of its own, so that no other event is parked behind it: a zero byte, the id of
the event, a zero byte, and the key of the event.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from runnel.protocol.common import PartitionKeys, Token, text
from runnel.protocol.parked import (
    ParkedEvent,
    failure_text,
    parked_names,
    read_parked,
    read_parked_key,
)
from runnel.protocol.scripts import Call

_KEY = re.compile(rb"\0\d+-\d+\0(.*)", re.DOTALL)


def postponed_key(event: str, key: bytes) -> bytes:
    """The parked key of a postponed event, from its id and its key."""
    return b"\0%s\0%s" % (event.encode(), key)


def key_of_postponed(name: bytes) -> bytes | None:
    """The key of the event with this parked key, or None if that is not of a postponed event."""
    found = _KEY.fullmatch(name)
    return None if found is None else found[1]


def postpone(
    of: PartitionKeys,
    token: Token,
    entry: str,
    ms: int | None,
    failure: tuple[str, int, tuple[str, str]],
) -> Call:
    """A postponed event has failed again: it is due in `ms`; with None, it stays parked. `failure`
    is the event, its attempts, and type and message of the error."""
    names = of.state, *parked_names(of), of.postponed
    due_in = "" if ms is None else ms
    args = (token.epoch, token.nonce, entry, due_in, failure_text(*failure))
    return Call("postpone", names, args)


def due(of: PartitionKeys, limit: int) -> Call:
    """Ask which postponed events are due, at most 100 of them."""
    parked, of_keys, _ = parked_names(of)
    return Call("due", (of.state, parked, of_keys, of.postponed), (limit,))


class Due(NamedTuple):
    """Reply of `due`. `next_in` is the ms until the first event that is not due yet, None if there
    is none; `gone` are events whose entries were removed by others; `attempts` of the events is how
    often each has failed."""

    next_in: int | None
    gone: int
    events: Sequence[ParkedEvent]


def read_due(reply: Sequence[Any]) -> Due:
    next_in, gone, at, events = reply[0], reply[1], 2, list[ParkedEvent]()
    while at < len(reply):
        entry, value, count = reply[at : at + 3]
        found, again = (
            read_parked(entry, reply[at + 3 : at + 3 + int(count)]),
            read_parked_key(value),
        )
        if again.event == found.event:
            found = replace(found, attempts=again.attempts)
        events.append(found)
        at += 3 + int(count)
    return Due(None if next_in < 0 else next_in, gone, events)


def read_due_times(pairs: Sequence[Any]) -> dict[str, int]:
    """Entry of a postponed event -> when it is due, in ms, from ZRANGE with scores."""
    times = zip(pairs[::2], pairs[1::2], strict=True)
    return {text(entry): int(float(text(score))) for entry, score in times}
