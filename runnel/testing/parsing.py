"""Reads the calls of scripts back: what `runnel.protocol` has built, as objects.

The store of a test carries out calls by these. So code that makes calls runs unchanged in a test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runnel.protocol import CheckpointMove, Entry, Token
from runnel.protocol.scripts import Call
from runnel.testing.trimming import Limits


@dataclass(frozen=True, slots=True)
class Written:
    """Writes of the table with this key; `expire` is the seconds after which its keys go."""

    table: str
    sets: Sequence[tuple[bytes, bytes]]
    deletes: Sequence[bytes]
    expire: int | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """Entries for a log with these limits."""

    log: str
    limits: Limits
    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class SetAside:
    """Events that are parked; there may be `size` of them. Postponed ones are due in `ms`."""

    size: int
    entries: Sequence[Entry]
    ms: int | None = None


@dataclass(frozen=True, slots=True)
class Unparked:
    """Ids of entries of parked events that are finished."""

    entries: Sequence[str]


Part = Written | Added | SetAside | Unparked


class Arguments:
    """The arguments of a call, taken one after the other."""

    def __init__(self, values: Sequence[Any], at: int = 0) -> None:
        self._values = values
        self._at = at

    @property
    def left(self) -> bool:
        """Are there more?"""
        return self._at < len(self._values)

    def take(self) -> Any:
        """The next one."""
        self._at += 1
        return self._values[self._at - 1]

    def number(self) -> int:
        """The next one, a number."""
        return int(self.take())

    def many(self, count: int) -> list[Any]:
        """The next ones."""
        return [self.take() for _ in range(count)]

    def entry(self) -> Entry:
        """An entry, behind the number of its fields and values."""
        return [as_bytes(each) for each in self.many(self.number())]

    def entries(self) -> list[Entry]:
        """All entries that are left."""
        found = []
        while self.left:
            found.append(self.entry())
        return found


def move_of(call: Call) -> tuple[str, Token, CheckpointMove]:
    """The processor, the token and the move of a `commit` or `transact`."""
    processor, epoch, nonce, prev, next_, count, release = call.args[:7]
    move = CheckpointMove(str(prev), str(next_), int(count), bool(release))
    return str(processor), Token(int(epoch), str(nonce)), move


def parts_of(call: Call) -> list[Part]:
    """The effects of a `transact`."""
    arguments, keys = Arguments(call.args, 7), iter(call.keys[3:])
    found: list[Part] = []
    while arguments.left:
        kind, key = arguments.take(), next(keys)
        if kind in ("table", "expiring"):
            expire = arguments.number() if kind == "expiring" else None
            if expire is not None:
                next(keys)
            sets, deletes = arguments.number(), arguments.number()
            pairs = [(arguments.take(), arguments.take()) for _ in range(sets)]
            found.append(Written(key, pairs, arguments.many(deletes), expire))
        elif kind in ("derived", "stream"):
            next(keys)
            limits, count = Limits.of(*arguments.many(2)), arguments.number()
            arguments.many(3 if kind == "stream" else 0)
            found.append(Added(key, limits, [arguments.entry() for _ in range(count)]))
        elif kind in ("park", "postpone"):
            next(keys)
            ms = None
            if kind == "postpone":
                next(keys)
                ms = arguments.number()
            size, count = arguments.number(), arguments.number()
            found.append(SetAside(size, [arguments.entry() for _ in range(count)], ms))
        elif kind == "replayed":
            for _ in ("parked_keys", "replay", "postponed"):
                next(keys)
            found.append(Unparked([str(each) for each in arguments.many(arguments.number())]))
        else:
            raise NotImplementedError(f"runnel.testing knows no effect {kind!r} of a commit")
    return found


def as_bytes(value: Any) -> bytes:
    """An argument as Redis gets it."""
    return value if isinstance(value, bytes) else str(value).encode()
