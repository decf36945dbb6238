"""The picture that `runnel inspect` shows: read from Redis alone, no user code needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.errors import Mismatch
from runnel.operations.figures import Json, integer, most, partitions, state_of, total
from runnel.preflight.server import ServerInfo
from runnel.protocol import GroupDescription, PartitionKeys
from runnel.protocol.scripts import PROTOCOL, Scripts

SCHEMA = "runnel.inspect/1"

#: Partitions asked for in one round trip.
PAGE = 256
#: Milliseconds that the first unfinished event of a partition may be in hand.
STALLED_AFTER = 60_000


@dataclass(frozen=True)
class Declared:
    """What the code of an app declares: shown even if nobody has started it yet.

    `streams` are name -> (partition count, source), `processors` pairs of stream and processor.
    `sinks` say where the dead letters of such a pair go; without code they are looked for under the
    name that they have by default.
    """

    streams: dict[str, tuple[int, str]] = field(default_factory=dict)
    processors: Sequence[tuple[str, str]] = ()
    sinks: dict[tuple[str, str], str] = field(default_factory=dict)


async def apps(client: Redis) -> list[str]:
    """Names of the apps that the registry knows."""
    found: set[Any] = await client.smembers(keys.apps())
    return sorted(protocol.text(each) for each in found)


async def inspect(
    client: Redis,
    server: ServerInfo,
    app: str | None = None,
    declared: Declared | None = None,
    stalled_after_ms: int = STALLED_AFTER,
) -> Json:
    """Everything about one app, or about all that the registry knows, as one JSON object.

    What is unknown is None, never 0, and makes its total None. Raises Mismatch if the keys were
    written by a newer protocol.
    """
    scripts = Scripts(client)
    names = [app] if app else await apps(client)
    code = declared or Declared()
    processors: list[Json] = []
    members: list[Json] = []
    streams: list[Json] = []
    for name in names:
        found = await _inspect_app(scripts, name, code, stalled_after_ms)
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
            "lag_ms": most(each["lag_ms"] for each in processors),
            "unassigned": states.count("unassigned"),
            "quarantined": states.count("quarantined"),
            "failing": sum(1 for row in rows if row["failing"]),
            "dead_letters": total(_sinks(processors).values()),
            "members": len({(each["app"], each["id"]) for each in members}),
        },
        "processors": processors,
        "members": members,
        "streams": streams,
    }


async def _inspect_app(
    scripts: Scripts, name: str, code: Declared, stalled_after_ms: int
) -> tuple[list[Json], list[Json], list[Json]]:
    """Processors, memberships and streams of one app."""
    client = scripts.client
    sources = {
        stream: (int(text.split()[0]), text.split()[1])
        for stream, text in (await strings_at(client, keys.streams(name))).items()
    } | code.streams
    registered = await strings_at(client, keys.processors(name))
    counts = {_pair(each): int(count) for each, count in registered.items()}
    counts |= {(stream, each): sources[stream][0] for stream, each in code.processors}
    streams = []
    for stream, (count, source) in sorted(sources.items()):
        prefixes = [keys.partition(name, source, p, stream) for p in range(count)]
        streams.append(_stream(name, stream, await _describe(scripts, prefixes, "")))
    processors, members, rosters = [], [], []
    for (stream, processor), count in sorted(counts.items()):
        source = sources[stream][1] if stream in sources else stream
        call = protocol.describe_group(keys.group(name, stream, processor))
        group_description = protocol.read_describe_group(await scripts.call(call))
        prefixes = [keys.partition(name, source, p, stream) for p in range(count)]
        rows = partitions(await _describe(scripts, prefixes, processor), group_description)
        processors.append(_processor(name, processor, stream, rows))
        members += _memberships(name, processor, rows, group_description)
        rosters.append(group_description)
    for each, group_description in zip(processors, rosters, strict=True):
        pair = each["stream"], each["name"]
        sink = code.sinks.get(pair, ".".join((*pair, "dead")))
        each["dead_letters"] = _dead_letters(sink, processors, streams)
        each["state"] = state_of(each, group_description, stalled_after_ms)
    return processors, members, streams


def _dead_letters(sink: str, processors: list[Json], streams: list[Json]) -> Json | None:
    """How many letters of a stream wait: for the slowest of the processors that read it, or all if
    nobody does. None if there is no such stream."""
    length = next((each["length"] for each in streams if each["name"] == sink), 0)
    if all(each["name"] != sink for each in streams):
        return None
    readers = [
        each
        for each in processors
        if each["stream"] == sink
        and any(row["checkpoint"] is not None for row in each["partitions"])
    ]
    waiting = most(each["lag_events"] for each in readers) if readers else length
    return {"stream": sink, "waiting": waiting, "readers": [each["name"] for each in readers]}


def _sinks(processors: list[Json]) -> dict[tuple[str, str], int | None]:
    """Letters that wait in each stream of dead letters, which several processors may share."""
    return {
        (each["app"], letters["stream"]): letters["waiting"]
        for each in processors
        if (letters := each["dead_letters"])
    }


def _pair(field: str) -> tuple[str, str]:
    stream, _, processor = field.partition("@")
    return stream, processor


async def strings_at(client: Redis, key: str) -> dict[str, str]:
    """A hash of the registry."""
    raw: dict[Any, Any] = await client.hgetall(key)
    return {protocol.text(name): protocol.text(value) for name, value in raw.items()}


async def _describe(scripts: Scripts, prefixes: list[str], processor: str) -> list[dict[str, str]]:
    pictures: list[dict[str, str]] = []
    for at in range(0, len(prefixes), PAGE):
        calls = [
            protocol.describe(PartitionKeys(prefix, processor))
            for prefix in prefixes[at : at + PAGE]
        ]
        for reply in await scripts.call_all(calls):
            if isinstance(reply, Exception):
                if "WRONGTYPE" not in str(reply):
                    raise reply
                # Somebody else's key under one of these names: the rest is worth seeing.
                pictures.append({"error_type": "WRONGTYPE", "error_message": str(reply)})
                continue
            picture = protocol.read_describe(reply)
            stored = picture.get("meta.protocol", "0")
            if int(stored) > PROTOCOL:
                details = {"field": "protocol", "stored": stored, "given": str(PROTOCOL)}
                raise Mismatch(f"MISMATCH field=protocol stored={stored}", details)
            pictures.append(picture)
    return pictures


def _processor(app: str, name: str, stream: str, rows: list[Json]) -> Json:
    """A processor; its state follows, once all are known."""
    return {
        "app": app,
        "name": name,
        "stream": stream,
        "state": None,
        "lag_events": total(row["lag_events"] for row in rows),
        "lag_ms": most(row["lag_ms"] for row in rows),
        "dead_letters": None,
        "partitions": rows,
    }


def _memberships(
    app: str, processor: str, rows: list[Json], group_description: GroupDescription
) -> list[Json]:
    found = []
    for member in group_description.members:
        if member.left_ms <= 0:
            continue
        words = [*member.description.split(), "", "", "", ""]
        found.append(
            {
                "id": member.id,
                "app": app,
                "processor": processor,
                "host": words[0] or None,
                "pid": integer(words[1]),
                "lang": words[2] or None,
                "version": words[3] or None,
                "partitions": [row["id"] for row in rows if row["owner"] == member.id],
                "last_heartbeat_ms": max(0, group_description.session_ms - member.left_ms),
            }
        )
    return found


def _stream(app: str, name: str, pictures: list[dict[str, str]]) -> Json:
    rows: list[Json] = [
        {
            "id": number,
            "length": integer(picture.get("length")),
            "first": picture.get("first"),
            "last": picture.get("last", "0-0"),
        }
        for number, picture in enumerate(pictures)
    ]
    return {
        "app": app,
        "name": name,
        "partition_count": len(rows),
        "length": total(row["length"] for row in rows),
        "partitions": rows,
    }
