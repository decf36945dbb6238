"""A processor as Redis knows it, for one whose code is gone."""

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
    """A record of a stream that nobody reads or writes any more."""


class _Named:
    """A hash of which no more is known than its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, data: bytes) -> int:
        raise RunnelError(f"of the hash {self.name} no more is known than its name")


async def recall(scripts: Scripts, app: str, stream: str, name: str) -> Processor:
    """A processor of a stream, good for administration only: it cannot run.

    Raises ConfigError, naming what there is, if the registry knows no such stream of the app.
    """
    known = await strings_at(scripts.client, keys.streams(app))
    if stream not in known:
        there = ", ".join(sorted(known)) or "none: is it the right app and Redis?"
        raise ConfigError(f"app {app!r} has no stream {stream!r} there; there is {there}")
    count, _, source = known[stream].partition(" ")
    place = PartitionKeys(keys.partition(app, source, 0, stream), name)
    seen = protocol.read_describe(await scripts.call(protocol.describe(place)))
    spec = StreamSpec(
        app=app,
        name=stream,
        codec=EntryCodec(adapt(_Anything), MsgpackSerializer()),
        partition_by=str,
        partition_count=check(
            f"stream {stream}", "partition_count", int(seen.get("meta.partitions", count))
        ),
        partition_size=2,
        hasher=_Named(seen.get("meta.hash", "")),
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


async def instead(scripts: Scripts, processor: Processor) -> list[str]:
    """What the registry has, as STREAM@PROCESSOR, in place of a processor that it does not have:
    those of the same name on other streams, else all, those of a similar name first."""
    known = await strings_at(scripts.client, keys.processors(processor.app))
    pairs = [(each, each.partition("@")[2]) for each in sorted(known)]
    same = [each for each, name in pairs if name == processor.name]

    def unlike(pair: tuple[str, str]) -> float:
        return -difflib.SequenceMatcher(None, pair[1], processor.name).ratio()

    return same or [each for each, _ in sorted(pairs, key=unlike)]


async def _nothing(events: Events[object]) -> None:
    """What its handler did is gone with its code."""
