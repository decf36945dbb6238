"""The registry: which apps, streams and processors there are, for `inspect` without code.

A hint only, rebuilt by every worker that starts and by one that finds keys lost. A full server that
refuses it must not keep a worker from starting: workers are what makes room again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from redis.exceptions import OutOfMemoryError

from runnel import keys
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec


async def announce_stream(scripts: Scripts, spec: StreamSpec[Any]) -> None:
    """Enter a stream and its app."""
    with suppress(OutOfMemoryError):
        await scripts.client.sadd(keys.apps(), spec.app)
        text = f"{spec.partition_count} {spec.source}"
        await scripts.client.hset(keys.streams(spec.app), spec.name, text)


async def announce_processor(scripts: Scripts, processor: Processor) -> None:
    """Enter a processor and its stream."""
    await announce_stream(scripts, processor.stream)
    field = f"{processor.stream.name}@{processor.name}"
    count = str(processor.stream.partition_count)
    with suppress(OutOfMemoryError):
        await scripts.client.hset(keys.processors(processor.app), field, count)
