"""Builds a processor from the registry, for operators who no longer have its code."""

from __future__ import annotations

import difflib

from runnel import keys, protocol
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.errors import ConfigError, RunnelError
from runnel.events import Events
from runnel.operations.inspection import strings_at
from runnel.processor import ExceptionPolicy, Processor
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from runnel.record import Record, adapt
from runnel.settings import check
from runnel.stream import StreamSpec


class _Anything(Record):
    """The record of a stream whose code is gone."""


class _UnknownHasher:
    """A hasher of which only the name is known."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, data: bytes) -> int:
        raise RunnelError(f"the hash {self.name} is only known by its name")


async def processor_from_registry(scripts: Scripts, app: str, stream: str, name: str) -> Processor:
    """A processor of a stream. It can be administered, but it cannot run.

    Raises ConfigError, which names the streams of the app, if the registry has no such stream.
    """
    known = await strings_at(scripts.client, keys.streams(app))
    if stream not in known:
        names = ", ".join(sorted(known)) or "none: check the name of the app and the URL of Redis"
        raise ConfigError(f"app {app!r} has no stream {stream!r}; its streams are {names}")
    count, _, source = known[stream].partition(" ")
    partition_keys = PartitionKeys(keys.partition(app, source, 0, stream), name)
    described = protocol.read_describe(await scripts.call(protocol.describe(partition_keys)))
    spec = StreamSpec(
        app=app,
        name=stream,
        codec=EntryCodec(adapt(_Anything), MsgpackSerializer()),
        partition_by=str,
        partition_count=check(
            f"stream {stream}", "partition_count", described.partition_count or int(count)
        ),
        partition_size=2,
        hasher=_UnknownHasher(described.hash or ""),
        source=source,
    )
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
