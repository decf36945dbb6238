"""An app whose processor `work` emits: to a stream with another key, and to a derived one."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel import Record, Stream, keys
from tests.worker.inside import Ledger


class Doubled(Record):
    number: int
    twice: int


class Pipeline(Ledger):
    """A ledger with two more streams: `doubled`, partitioned by another field, and `copies`, which
    is derived from the ledger's own."""

    def __init__(self, name: str, url: str, size: int = 1000, **settings: Any) -> None:
        super().__init__(name, url, **settings)
        self.doubled: Stream[Doubled] = self.app.stream(
            "doubled", record=Doubled, partition_by="twice", partition_count=3, partition_size=size
        )
        self.copies: Stream[Doubled] = self.items.derive("copies", Doubled)

    async def numbers(self, redis: Redis, stream: Stream[Doubled]) -> list[int]:
        """The numbers in a stream, partition by partition."""
        found: list[int] = []
        for partition in range(stream.spec.partition_count):
            entries: Any = await redis.xrange(keys.log(stream.spec.prefix(partition)))
            for _, fields in entries:
                flat = [each for pair in fields.items() for each in pair]
                found.append(stream.spec.codec.decode(flat).number)
        return found


def doubled(number: int) -> Doubled:
    return Doubled(number=number, twice=2 * number)
