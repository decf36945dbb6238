"""What a test has stored: logs, and what is known of one processor on one partition."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from runnel.protocol import Entry, PartitionKeys, Token
from runnel.protocol.ids import parts

Id = tuple[int, int]


class Kept(NamedTuple):
    """An entry that was added: its place among all of the test, and its id, fields and values."""

    place: int
    id: str
    fields: Sequence[bytes]


class Log:
    """The entries of one log. Those that were trimmed are kept for the test to see."""

    def __init__(self) -> None:
        self.entries: list[Kept] = []
        self._ids: list[Id] = []
        #: How many of them were trimmed.
        self.trimmed = 0

    @property
    def last(self) -> str:
        """The id of the last entry."""
        return self.entries[-1].id if self.entries else "0-0"

    def __len__(self) -> int:
        return len(self.entries) - self.trimmed

    def add(self, place: int, ms: int, fields: Entry) -> str:
        """Add an entry with the next id."""
        last = self._ids[-1] if self._ids else (0, 0)
        id_ = (ms, 0) if ms > last[0] else (last[0], last[1] + 1)
        self._ids.append(id_)
        self.entries.append(Kept(place, f"{id_[0]}-{id_[1]}", list(fields)))
        return self.entries[-1].id

    def after(self, id_: str, limit: int | None = None) -> list[Kept]:
        """The entries after an id."""
        if id_ == self.last:  # Most are read to their end.
            return []
        at = max(bisect_right(self._ids, parts(id_)), self.trimmed)
        return self.entries[at : None if limit is None else at + limit]

    def count_after(self, id_: str) -> int:
        """How many entries are after an id."""
        if id_ == self.last:
            return 0
        return len(self._ids) - max(bisect_right(self._ids, parts(id_)), self.trimmed)

    def has(self, id_: str) -> bool:
        """Is there an entry with this id?"""
        at = bisect_left(self._ids, parts(id_))
        return self.trimmed <= at < len(self._ids) and self._ids[at] == parts(id_)


@dataclass(slots=True)
class Group:
    """What is stored for one processor on one partition."""

    keys: PartitionKeys
    checkpoint: str = "0-0"
    token: Token = field(default_factory=lambda: Token(0, ""))
    released: bool = True
    owner: str = ""
    grant: int = 0
    processed: int = 0
    attempts: int = 0
    event: str = ""
    deaths: int = 0
    unclean: int = 0
    started: str = ""
    quarantined: bool = False
    #: Why its last commit found no room, until one is applied.
    waits: str = ""
    parked: Log = field(default_factory=Log)
    #: Ids of parked entries that are finished.
    unparked: set[str] = field(default_factory=set)
    parked_keys: dict[bytes, bytes] = field(default_factory=dict)
    replay: set[bytes] = field(default_factory=set)
    #: Entry of each postponed event -> when it is due, in ms.
    due: dict[str, int] = field(default_factory=dict)

    @property
    def next_due(self) -> int | None:
        """When the first postponed event is due, in ms."""
        return min(self.due.values(), default=None)

    def still_parked(self) -> list[Kept]:
        """The parked entries, in order."""
        return [each for each in self.parked.entries if each.id not in self.unparked]
