"""Writes the registry: the names of apps, streams and processors, for `inspect` without code.

Nothing depends on it. Every worker writes it when it starts, and again when it finds that keys were
lost. If a full server refuses the write, the worker starts all the same, because workers make room.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import OutOfMemoryError

from runnel import keys
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from runnel.retention import Retention
from runnel.stream import StreamSpec


class Entry(NamedTuple):
    """What the registry says of a stream. Its size and retention are those that a worker or an
    operator declared last; None if they are unknown."""

    partition_count: int
    source: str
    partition_size: int | None = None
    retention: Retention | None = None

    @classmethod
    def of(cls, spec: StreamSpec[Any]) -> Entry:
        """The entry of a stream that is declared here."""
        return cls(spec.partition_count, spec.source, spec.partition_size, spec.retention)

    @classmethod
    def read(cls, text: str) -> Entry:
        """The entry with this text."""
        count, source, *rest = text.split(" ")
        if len(rest) != 3 or not (rest[0].isdecimal() and rest[1].isdecimal()):
            return cls(int(count), source)
        when_full = "drop_unread" if rest[2] == "until_full" else "refuse"
        return cls(int(count), source, int(rest[0]), Retention(int(rest[1]), when_full))

    def text(self) -> str:
        """The text of a declared stream in the registry."""
        kept = self.retention or Retention()
        return (
            f"{self.partition_count} {self.source} {self.partition_size} {kept.max_age_ms} "
            f"{kept.retain}"
        )


async def announce_stream(scripts: Scripts, spec: StreamSpec[Any]) -> None:
    """Add a stream and its app to the registry."""
    with suppress(OutOfMemoryError):
        await scripts.client.sadd(keys.apps(), spec.app)
        await scripts.client.hset(keys.streams(spec.app), spec.name, Entry.of(spec).text())


async def announce_processor(scripts: Scripts, processor: Processor) -> None:
    """Add a processor and its stream to the registry."""
    await announce_stream(scripts, processor.stream)
    field = f"{processor.stream.name}@{processor.name}"
    count = str(processor.stream.partition_count)
    with suppress(OutOfMemoryError):
        await scripts.client.hset(keys.processors(processor.app), field, count)
