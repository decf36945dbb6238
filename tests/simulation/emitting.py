"""What the simulated handlers emit for an event: so many items, to these streams, in this order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from runnel.errors import NotInHandler
from runnel.stream import Stream
from tests.simulation.items import Item
from tests.simulation.stored import Fields

#: The stream with other keys and partitions, the stream that is derived, and the handler's own.
MOVES, ECHOES, OWN = "moves", "echoes", "own"
#: The most items for one event.
MOST = 5


class Emitting:
    """What the handler of one processor emits. `streams` are those to which it emits, by name."""

    def __init__(self, processor: str, streams: dict[str, Stream[Item]]) -> None:
        self._processor = processor
        self._streams = streams

    def items(self, partition: int, of: Item) -> list[tuple[Stream[Item], Item]]:
        """What an event in this partition leads to. Deterministic, so that a repeat is equal."""

        def item(i: int, key: int) -> Item:
            origin = f"{self._processor} {partition}"
            return Item(number=10 * of.number + i, key=f"k{key}", work=of.work / 10, origin=origin)

        found: list[tuple[Stream[Item], Item]] = []
        if MOVES in self._streams:
            count = of.number % 4
            found += [
                (self._streams[MOVES], item(i, (7 * of.number + i) % 11)) for i in range(count)
            ]
        if ECHOES in self._streams and of.number % 3 != 2:
            found.append((self._streams[ECHOES], item(3, of.number % 5)))
        # What was emitted leads to no more in its own stream, so that an end comes.
        if OWN in self._streams and of.number % 7 in (1, 2, 3) and not of.origin:
            found.append((self._streams[OWN], item(4, of.number % 13)))
        return found

    def emit(self, events: Any, event: Any) -> None:
        """Emit what an event leads to, through its `events` or through the stream."""
        for i, (stream, item) in enumerate(self.items(event.partition, event.record)):
            if i % 2:
                events.emit(stream, item)
            else:
                stream.emit(item)

    def emits_too_late(self, events: Any, event: Any) -> bool:
        """Emit although the handler was cancelled. Returns False if that is refused."""
        stream = next(iter(self._streams.values()))
        try:
            events.emit(stream, event.record)
        except NotInHandler:
            return False
        return True

    def entries(
        self, decode: Callable[[Sequence[bytes]], Item], partition: int, fields: Fields
    ) -> list[tuple[str, Item, Fields]]:
        """For each item that an event leads to, the prefix of its partition and its entry."""
        found = []
        for stream, item in self.items(partition, decode(fields)):
            spec = stream.spec
            number = partition if spec.source != spec.name else spec.partition(item)
            found.append((spec.prefix(number), item, tuple(spec.encode(item))))
        return found
