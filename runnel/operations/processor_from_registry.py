"""Builds a processor from the registry, for operators who no longer have its code."""

from __future__ import annotations

import difflib
from typing import Any

from runnel import keys
from runnel.events import Events
from runnel.operations import one_processor
from runnel.operations.inspection import describe_all, strings_at
from runnel.operations.stream_from_registry import stream_from_registry
from runnel.processor import ExceptionPolicy, Processor
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec


async def processor_from_registry(scripts: Scripts, app: str, stream: str, name: str) -> Processor:
    """A processor of a stream. It can be administered, but it cannot run.

    Raises ConfigError, which names the streams of the app, if the registry has no such stream.
    """
    spec = await stream_from_registry(scripts, app, stream)
    return Processor(
        app=app,
        name=keys.check_name("processor", name),
        stream=spec,
        handler=_nothing,
        function=_nothing,
        module="",
        policy=ExceptionPolicy.HALT,
        retries=0,
        backoff=0.0,
        backoff_max=0.0,
        commit="auto",
        prefetch=1,
        middleware=(),
        sink=None,
        start="0",
    )


async def check_known(scripts: Scripts, spec: StreamSpec[Any], name: str) -> None:
    """Raise ConfigError, which names those that there are, for a processor of a stream of which
    nothing is known: neither the registry nor a partition has it, nor are there dead letters of it,
    which outlive it."""
    known = await strings_at(scripts.client, keys.processors(spec.app))
    letters = f"{spec.name}.{name}.dead"
    if f"{spec.name}@{name}" in known or letters in await strings_at(
        scripts.client, keys.streams(spec.app)
    ):
        return
    prefixes = [spec.prefix(number) for number in range(spec.partition_count)]
    found = await describe_all(scripts, prefixes, name)
    if all(each.checkpoint is None for each in found):
        one_processor.find(spec.app, f"{spec.name}@{name}", map(one_processor.pair_of, known))


async def registered_instead(scripts: Scripts, processor: Processor) -> list[str]:
    """Registered processors, as STREAM@PROCESSOR, to suggest for one that is not registered: those
    of the same name on other streams, or else all of the app, similar names first."""
    known = await strings_at(scripts.client, keys.processors(processor.app))
    pairs = [(each, each.partition("@")[2]) for each in sorted(known)]
    same = [each for each, name in pairs if name == processor.name]

    def similarity(pair: tuple[str, str]) -> float:
        return difflib.SequenceMatcher(None, pair[1], processor.name).ratio()

    return same or [each for each, _ in sorted(pairs, key=similarity, reverse=True)]


async def _nothing(events: Events[object]) -> None:
    """Its code is gone, so it has no handler."""
