"""The tables of the simulated handlers: how many events of each key a processor has handled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from runnel import App, keys
from runnel.errors import NotInHandler
from runnel.stream import Stream
from runnel.table import Table

#: Keys of no event: under one, events with an even number are counted; the other comes and goes.
ALL, MARK = "all", "mark"


def name_of(processor: str) -> str:
    """The name of the table of a processor."""
    return f"counts-{processor}"


def key_of(prefix: str, processor: str) -> str:
    """The Redis key of the table of a processor in one partition."""
    return keys.table(prefix, name_of(processor))


def apply_to_all(table: Any, number: int) -> None:
    """What the event with this number does to the keys of no event."""
    if number % 2 == 0:
        table[ALL] += 1
    if number % 3 == 0:
        if MARK in table:
            del table[MARK]
        else:
            table[MARK] = 1


class Truth(Counter[str]):
    """What the table of one processor must have in one partition."""

    def commit(self, key: str, number: int, own: bool) -> None:
        """An event was committed. With `own`, its handler may use its own key alone."""
        self[key] += 1
        if not own:
            apply_to_all(self, number)

    def stored(self) -> dict[bytes, bytes]:
        """The same as Redis has it."""
        return {key.encode(): str(value).encode() for key, value in self.items()}


class Counting:
    """The table of one processor, and what its handler does with it."""

    def __init__(self, app: App, stream: Stream[Any], processor: str, own: bool) -> None:
        name = name_of(processor)
        self._table: Table[int] = app.table(name, stream, value=int, default=0, processor=processor)
        #: Each event may use its own key alone.
        self._own = own
        #: What a derived stream has is partitioned by the keys of its source, and not by its own.
        self._knows_keys = stream.spec.source == stream.spec.name

    async def count(self, events: Sequence[Any]) -> None:
        """Count these events, each by its key. Some are also counted under `ALL`, and some set the
        field `MARK`, or delete it if it is there. Raises redis-py's errors."""
        table, numbers = self._table, [each.record.number for each in events]
        if not self._knows_keys:
            await table.load_many([each.record.key for each in events])
        for event in events:
            table[event.record.key] += 1
        if self._own:
            return
        if any(number % 2 == 0 or number % 3 == 0 for number in numbers):
            await table.load_many((ALL, MARK))
        for number in numbers:
            apply_to_all(table, number)

    def counts_too_late(self, event: Any) -> bool:
        """Count an event although the handler was cancelled. Returns False if that is refused."""
        try:
            self._table[event.record.key] += 1000
        except NotInHandler:
            return False
        return True
