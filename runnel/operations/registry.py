"""Writes the registry: the names of apps, streams and processors, for `inspect` without code.

Nothing depends on it. Every worker writes it when it starts, and again when it finds that keys were
lost. If a full server refuses the write, the worker starts all the same, because workers make room.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from redis.exceptions import OutOfMemoryError

from runnel import keys
from runnel.operations.registry_entry import Entry
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec


def entry_of(spec: StreamSpec[Any]) -> Entry:
    """The entry of a stream that is declared here."""
    return Entry(spec.partition_count, spec.source, spec.partition_size, spec.retention)


async def announce_stream(scripts: Scripts, spec: StreamSpec[Any]) -> None:
    """Add a stream and its app to the registry."""
    with suppress(OutOfMemoryError):
        await scripts.client.sadd(keys.apps(), spec.app)
        await scripts.client.hset(keys.streams(spec.app), spec.name, entry_of(spec).text())


async def announce_processor(scripts: Scripts, processor: Processor) -> None:
    """Add a processor and its stream to the registry."""
    await announce_stream(scripts, processor.stream)
    field = f"{processor.stream.name}@{processor.name}"
    count = str(processor.stream.partition_count)
    with suppress(OutOfMemoryError):
        await scripts.client.hset(keys.processors(processor.app), field, count)
