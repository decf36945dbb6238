"""Builds a stream from the registry, for operators who do not have its code."""

from __future__ import annotations

from typing import Any

from runnel import keys, protocol
from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import XXH64, Hasher
from runnel.codec.serializers import MsgpackSerializer
from runnel.errors import ConfigError, RunnelError
from runnel.operations.inspection import strings_at
from runnel.operations.registry_entry import Entry
from runnel.protocol import PartitionKeys
from runnel.protocol.scripts import Scripts
from runnel.record import Record, adapt
from runnel.retention import Retention
from runnel.settings import check
from runnel.stream import StreamSpec


class _Anything(Record):
    """The record of a stream whose code is not here."""


class _UnknownHasher:
    """A hasher of which only the name is known."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, data: bytes) -> int:
        raise RunnelError(f"the hash {self.name} is only known by its name")


async def stream_from_registry(scripts: Scripts, app: str, stream: str) -> StreamSpec[Any]:
    """A stream of an app. `EntryCodec.plain` reads its events; what its key is stays unknown.

    Workers write the registry. So a stream that has only been sent to is found by its partition 0.
    Raises ConfigError, which names the streams of the app, if there is no such stream.
    """
    keys.check_name("app", app)
    keys.check_name("stream", stream)
    known = await strings_at(scripts.client, keys.streams(app))
    entry = Entry.read(known.get(stream, f"0 {stream}"), app, stream)
    partition_keys = PartitionKeys(keys.partition(app, entry.source, 0, stream), "")
    described = protocol.read_describe(await scripts.call(protocol.describe(partition_keys)))
    if stream not in known and described.partition_count is None:
        names = ", ".join(sorted(known)) or "none: check the name of the app and the URL of Redis"
        raise ConfigError(f"app {app!r} has no stream {stream!r}; its streams are {names}")
    count = described.partition_count or entry.partition_count
    return spec_without_code(app, stream, entry._replace(partition_count=count), described.hash)


def spec_without_code(
    app: str, name: str, entry: Entry, hash_name: str | None = None
) -> StreamSpec[Any]:
    """The declaration of a stream whose code is not here. Raises ConfigError for a wrong name or
    partition count."""
    default: Hasher = XXH64()
    known = hash_name in (None, default.name)
    return StreamSpec(
        app=app,
        name=name,
        codec=EntryCodec(adapt(_Anything), MsgpackSerializer()),
        partition_by=str,
        partition_count=check(f"stream {name}", "partition_count", entry.partition_count),
        partition_size=entry.partition_size or 2,
        hasher=default if known else _UnknownHasher(str(hash_name)),
        source=entry.source,
        retention=entry.retention or Retention(),
    )
