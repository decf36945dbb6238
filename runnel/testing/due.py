"""Events of a test that enter their log later, when they are due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runnel.protocol import Entry


class Waiting(NamedTuple):
    """An event that waits: when it is due, in ms, and its number, by which events that are due at
    the same time are in order."""

    due: int
    order: int
    entry: Entry


class DueEvents:
    """Those of one partition, and the requests under which they were sent."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._number = 0
        #: Request -> until when it is remembered, and its reply.
        self._requests: dict[str, tuple[int, list[int]]] = {}
        #: How many entries the partition may hold.
        self.size = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(sorted(self._waiting))

    @property
    def next(self) -> int | None:
        """When the first one is due."""
        return min((each.due for each in self._waiting), default=None)

    def repeated(self, request: str, now: int) -> list[int] | None:
        """The reply to an earlier call of this request, if there was one."""
        until, reply = self._requests.get(request, (0, []))
        return [0, *reply] if now < until else None

    def add(self, due: int, entries: Sequence[Entry], request: str, until: int) -> list[int]:
        """Keep events until they are due. Returns the reply: 1, the time, the first number, and how
        many there are."""
        first = self._number + 1
        for entry in entries:
            self._number += 1
            self._waiting.append(Waiting(due, self._number, entry))
        self._requests[request] = until, [due, first, len(entries)]
        return [1, due, first, len(entries)]

    def take(self, now: int) -> Waiting | None:
        """The first one that is due, which does not wait any more."""
        first = min(self._waiting, default=None)
        if first is None or first.due > now:
            return None
        self._waiting.remove(first)
        return first

    def put_back(self, event: Waiting) -> None:
        """There was no room for this one."""
        self._waiting.append(event)

    def cancel(self, due: int, order: int) -> bool:
        """Remove the event with this time and number. Returns whether it waited."""
        found = [each for each in self._waiting if each[:2] == (due, order)]
        self._waiting = [each for each in self._waiting if each not in found]
        return bool(found)
