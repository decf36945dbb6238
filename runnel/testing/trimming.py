"""Which old entries leave a log in a test: those that a partition needs room for, and old ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from runnel.protocol.ids import parts, reached
from runnel.protocol.scripts import error_from
from runnel.testing.stored import Group, Log


class Limits(NamedTuple):
    """How many entries a log may hold, the age in ms at which committed ones leave, 0 for none, and
    what happens when it is full."""

    size: int
    age: int
    when_full: str

    @classmethod
    def of(cls, size: Any, when_full: Any) -> Limits:
        """From the arguments of a script: behind a comma after the size there may be the age."""
        entries, _, age = str(size).partition(",")
        return cls(int(entries), int(age or 0), str(when_full))


def leaving(log: Log, readers: Sequence[Group], limits: Limits, more: int, now: int) -> int:
    """How many of the oldest entries leave, so that `more` fit. `readers` are the processors that
    read the log. Raises Full."""
    drops = limits.when_full == "drop_oldest"
    drops |= limits.when_full == "drop_unread" and not readers
    old = _old(log, readers, now - limits.age) if limits.age else 0
    excess = len(log) + more - limits.size
    if excess <= old:
        return old
    refusal = f"FULL processor={{}} limit={limits.size}"
    if excess >= len(log) or not (drops or readers):
        raise error_from(ResponseError(refusal.format("")))
    bound = log.entries[log.trimmed + excess].id
    for each in () if drops else readers:
        if not reached(each.checkpoint, bound):
            words = f"{refusal.format(each.keys.processor)} checkpoint={each.checkpoint}"
            raise error_from(ResponseError(words))
    return excess


def _old(log: Log, readers: Sequence[Group], before: int) -> int:
    """How many entries are older, and behind the checkpoint of every processor."""
    if not readers:
        return 0
    lowest = min(parts(each.checkpoint) for each in readers)
    left = log.entries[log.trimmed :]
    return sum(parts(each.id) < min(lowest, (before, 0)) for each in left)
