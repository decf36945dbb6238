"""Reads from Redis what `runnel inspect` shows. Needs no user code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.connection.url_text import redacted
from runnel.errors import ConfigError, Mismatch
from runnel.operations import one_processor
from runnel.operations.figures import Json, largest, oldest_ms, partitions, state_of, total
from runnel.operations.member_versions import described, mixed
from runnel.operations.registry_entry import Entry, read_count
from runnel.operations.table_sizes import Size, sizes
from runnel.preflight.server import ServerInfo
from runnel.protocol import GroupDescription, PartitionDescription, PartitionKeys
from runnel.protocol.scripts import PROTOCOL, Scripts

SCHEMA = "runnel.inspect/1"

#: Partitions that one round trip describes.
PAGE = 256
#: Milliseconds that the owner of a partition may need for one event before it counts as stalled.
STALLED_AFTER = 60_000


@dataclass(frozen=True)
class Declared:
    """What the code of an app declares. It is shown even if no worker has started yet.

    `streams` is name -> what the registry would say of it. `processors` are pairs of stream and
    processor. `sinks` has the stream of dead letters of such a pair; for a pair that it lacks, the
    stream with the default name is used.
    """

    streams: dict[str, Entry] = field(default_factory=dict)
    processors: Sequence[tuple[str, str]] = ()
    sinks: dict[tuple[str, str], str] = field(default_factory=dict)


async def apps(client: Redis) -> list[str]:
    """The names of the apps in the registry, sorted."""
    found: set[Any] = await client.smembers(keys.apps())
    return sorted(protocol.shown(each) for each in found)


async def check_app(client: Redis, name: str, url: str) -> None:
    """Raise ConfigError, which names those that there are, for an app that the registry of the
    Redis at `url` does not have."""
    known = await apps(client)
    if name not in known:
        there = ", ".join(known) or "none"
        raise ConfigError(f"there is no app {name!r} at {redacted(url)}; there is {there}")


async def inspect(
    client: Redis,
    server: ServerInfo,
    app: str | None = None,
    declared: Declared | None = None,
    stalled_after_ms: int = STALLED_AFTER,
    processor: str | None = None,
) -> Json:
    """A report of one app, or of all apps in the registry, as one JSON object; with `processor`,
    which needs an app, on that one alone: its name, or STREAM@NAME.

    A value that is unknown is None, never 0, and makes its total None. Raises Mismatch if a newer
    version of the protocol wrote the keys, and ConfigError if there is no such processor.
    """
    scripts = Scripts(client)
    names = [app] if app else await apps(client)
    code = declared or Declared()
    processors: list[Json] = []
    members: list[Json] = []
    streams: list[Json] = []
    for name in names:
        found = await _inspect_app(scripts, name, code, stalled_after_ms, processor)
        processors += found[0]
        members += found[1]
        streams += found[2]
    seconds, micros = await client.time()
    rows = [row for each in processors for row in each["partitions"]]
    states = [row["state"] for row in rows]
    return {
        "schema": SCHEMA,
        "at_ms": int(seconds) * 1000 + int(micros) // 1000,
        "server": {"kind": server.kind, "version": server.version, "mode": server.mode},
        "totals": {
            "lag_events": total(each["lag_events"] for each in processors),
            "lag_ms": largest(each["lag_ms"] for each in processors),
            "unassigned": states.count("unassigned"),
            "quarantined": states.count("quarantined"),
            "failing": sum(1 for row in rows if row["failing"]),
            "dead_letters": total(_waiting(processors).values()),
            "parked": sum(row["parked"] for row in rows),
            "postponed": sum(row["postponed"] for row in rows),
            "members": len({(each["app"], each["id"]) for each in members}),
        },
        "processors": processors,
        "members": members,
        "streams": streams,
    }


async def _inspect_app(
    scripts: Scripts, name: str, code: Declared, stalled_after_ms: int, only: str | None
) -> tuple[list[Json], list[Json], list[Json]]:
    """The processors, memberships and streams of one app."""
    client = scripts.client
    known = (await strings_at(client, keys.streams(name))).items()
    entries = {stream: Entry.read(text, name, stream) for stream, text in known} | code.streams
    sources = {stream: (each.partition_count, each.source) for stream, each in entries.items()}
    registered = await strings_at(client, keys.processors(name))
    counts = {
        one_processor.pair_of(field): read_count(text, name, field)
        for field, text in registered.items()
    }
    counts |= {(stream, each): sources[stream][0] for stream, each in code.processors}
    pair = one_processor.find(name, only, counts) if only else None
    if pair:
        wanted = one_processor.needed(pair, _sink(pair, code), counts)
        counts = {each: count for each, count in counts.items() if each in wanted}
        read = {pair[0], _sink(pair, code)}
        sources = {each: value for each, value in sources.items() if each in read}
    processors, members, groups = [], [], []
    logs: dict[str, list[PartitionDescription]] = {}
    for (stream, processor), count in sorted(counts.items()):
        source = sources[stream][1] if stream in sources else stream
        call = protocol.describe_group(keys.group(name, stream, processor))
        group_description = protocol.read_describe_group(await scripts.call(call))
        prefixes = [keys.partition(name, source, p, stream) for p in range(count)]
        descriptions = await describe_all(scripts, prefixes, processor)
        if all(each.length is not None for each in descriptions):
            logs[stream] = descriptions  # They also describe the partitions of the stream.
        rows = partitions(descriptions, group_description)
        for row, description in zip(rows, descriptions, strict=True):
            row["dropped"] = description.dropped.get(processor, 0)
        tables = await _tables(scripts, processor, prefixes, descriptions)
        processors.append(_processor(name, processor, stream, rows, tables))
        own = _memberships(name, processor, rows, group_description)
        processors[-1]["mixed"] = mixed(own)
        if pair in (None, (stream, processor)):
            members += own
        groups.append(group_description)
    streams = []
    for stream, (count, source) in sorted(sources.items()):
        descriptions = logs.get(stream, [])
        if len(descriptions) != count:
            prefixes = [keys.partition(name, source, p, stream) for p in range(count)]
            descriptions = await describe_all(scripts, prefixes, "")
        streams.append(stream_row(name, stream, entries[stream], descriptions))
    for each, group_description in zip(processors, groups, strict=True):
        sink = _sink((each["stream"], each["name"]), code)
        each["dead_letters"] = _dead_letters(sink, processors, streams)
        each["state"] = state_of(each, group_description, stalled_after_ms)
    shown = [each for each in processors if pair in (None, (each["stream"], each["name"]))]
    return shown, members, streams


def _sink(pair: tuple[str, str], code: Declared) -> str:
    """The stream of the dead letters of a processor, if it keeps any."""
    return code.sinks.get(pair, ".".join((*pair, "dead")))


def _dead_letters(sink: str, processors: list[Json], streams: list[Json]) -> Json | None:
    """How many dead letters of a stream wait for the slowest of the processors that read it. All
    wait if no processor reads it. None if there is no such stream."""
    length = next((each["length"] for each in streams if each["name"] == sink), 0)
    if all(each["name"] != sink for each in streams):
        return None
    readers = [
        each
        for each in processors
        if each["stream"] == sink
        and any(row["checkpoint"] is not None for row in each["partitions"])
    ]
    waiting = largest(each["lag_events"] for each in readers) if readers else length
    return {"stream": sink, "waiting": waiting, "readers": [each["name"] for each in readers]}


def _waiting(processors: list[Json]) -> dict[tuple[str, str], int | None]:
    """Dead letters that wait, by app and stream: several processors may share a stream."""
    return {
        (each["app"], found["stream"]): found["waiting"]
        for each in processors
        if (found := each["dead_letters"])
    }


async def strings_at(client: Redis, key: str) -> dict[str, str]:
    """The fields of a hash, such as one of the registry."""
    raw: dict[Any, Any] = await client.hgetall(key)
    return {protocol.shown(name): protocol.shown(value) for name, value in raw.items()}


async def describe_all(
    scripts: Scripts, prefixes: list[str], processor: str
) -> list[PartitionDescription]:
    """The descriptions of partitions, with those of a processor on them, unless its name is empty.
    Raises Mismatch if a newer version of the protocol wrote one."""
    descriptions: list[PartitionDescription] = []
    for at in range(0, len(prefixes), PAGE):
        calls = [
            protocol.describe(PartitionKeys(prefix, processor))
            for prefix in prefixes[at : at + PAGE]
        ]
        for reply in await scripts.call_all(calls):
            if isinstance(reply, Exception):
                if "WRONGTYPE" not in str(reply):
                    raise reply
                # Another program has a key of this name. Report the other partitions all the same.
                descriptions.append(
                    PartitionDescription(error_type="WRONGTYPE", error_message=str(reply))
                )
                continue
            description = protocol.read_describe(reply)
            stored = description.protocol or 0
            if stored > PROTOCOL:
                details = {"field": "protocol", "stored": str(stored), "given": str(PROTOCOL)}
                raise Mismatch(f"MISMATCH field=protocol stored={stored}", details)
            descriptions.append(description)
    return descriptions


async def _tables(
    scripts: Scripts, processor: str, prefixes: list[str], descriptions: list[PartitionDescription]
) -> list[Json]:
    """The tables that a processor writes."""
    parts = [
        (prefix, table)
        for prefix, each in zip(prefixes, descriptions, strict=True)
        for table, writer in each.writers.items()
        if writer == processor
    ]
    found: dict[str, list[Size]] = {}
    for (_, table), size in zip(parts, await sizes(scripts, parts), strict=True):
        found.setdefault(table, []).append(size)
    return [
        {
            "name": table,
            "keys": total(each.keys for each in those),
            "bytes": total(each.bytes for each in those),
        }
        for table, those in sorted(found.items())
    ]


def _processor(app: str, name: str, stream: str, rows: list[Json], tables: list[Json]) -> Json:
    """A processor. Its members, state and dead letters are filled in once they are known."""
    return {
        "app": app,
        "name": name,
        "stream": stream,
        "state": None,
        "lag_events": total(row["lag_events"] for row in rows),
        "lag_ms": largest(row["lag_ms"] for row in rows),
        "dead_letters": None,
        "mixed": False,
        "tables": tables,
        "partitions": rows,
    }


def _memberships(
    app: str, processor: str, rows: list[Json], group_description: GroupDescription
) -> list[Json]:
    found = []
    for member in group_description.members:
        if member.left_ms <= 0:
            continue
        in_hand = protocol.read_in_hand(member.description)
        found.append(
            {
                "id": member.id,
                "app": app,
                "processor": processor,
                **described(member.description),
                "partitions": [row["id"] for row in rows if row["owner"] == member.id],
                "in_hand": in_hand.total.events if in_hand else None,
                "finished_ahead": in_hand.total.finished_ahead if in_hand else None,
                "last_heartbeat_ms": max(0, group_description.session_ms - member.left_ms),
            }
        )
    return found


def stream_row(app: str, name: str, entry: Entry, descriptions: list[PartitionDescription]) -> Json:
    """A stream, as `inspect` shows it."""
    rows: list[Json] = [
        {
            "id": number,
            "length": each.length,
            "first": each.first,
            "last": each.last,
            "oldest_ms": oldest_ms(each),
            "delayed": each.delayed or 0,
            "delayed_due_ms": each.delayed_due,
            "delayed_lost": each.delayed_lost or 0,
        }
        for number, each in enumerate(descriptions)
    ]
    kept = entry.retention
    return {
        "app": app,
        "name": name,
        "partition_count": len(rows),
        "partition_size": entry.partition_size,
        "max_age_ms": kept.max_age_ms or None if kept else None,
        "retain": kept.retain if kept else None,
        "length": total(row["length"] for row in rows),
        "oldest_ms": largest(row["oldest_ms"] for row in rows),
        "delayed": sum(row["delayed"] for row in rows),
        "delayed_due_ms": min(
            (each.delayed_due for each in descriptions if each.delayed_due is not None),
            default=None,
        ),
        "partitions": rows,
    }
