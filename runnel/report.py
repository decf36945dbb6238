"""The picture that `runnel inspect` shows: read from Redis alone, no user code needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.connection import ServerInfo
from runnel.core.ids import parts, reached
from runnel.errors import Mismatch
from runnel.protocol import Place, Roster
from runnel.scripts import PROTOCOL, Scripts

SCHEMA = "runnel.inspect/1"
Json = dict[str, Any]

#: Partitions asked for in one round trip.
PAGE = 256
#: Milliseconds that the first unfinished event of a partition may be in hand.
STALLED_AFTER = 60_000


@dataclass(frozen=True)
class Declared:
    """What the code of an app declares: shown even if nobody has started it yet.

    `streams` are name -> (partition count, source), `processors` pairs of stream and processor.
    """

    streams: dict[str, tuple[int, str]] = field(default_factory=dict)
    processors: Sequence[tuple[str, str]] = ()


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
    now = 0
    for name in names:
        sources = {
            stream: (int(text.split()[0]), text.split()[1])
            for stream, text in (await _hash(client, keys.streams(name))).items()
        } | code.streams
        registered = await _hash(client, keys.processors(name))
        counts = {_pair(each): int(count) for each, count in registered.items()}
        counts |= {(stream, each): sources[stream][0] for stream, each in code.processors}
        for (stream, processor), count in sorted(counts.items()):
            source = sources[stream][1] if stream in sources else stream
            roster = protocol.read_roster(
                await scripts.call(protocol.roster(keys.group(name, stream, processor)))
            )
            now = roster.now_ms
            prefixes = [keys.partition(name, source, p, stream) for p in range(count)]
            pictures = await _describe(scripts, prefixes, processor)
            rows = _partitions(pictures, roster)
            processors.append(_processor(name, processor, stream, rows, roster, stalled_after_ms))
            members += _memberships(name, processor, rows, roster)
        for stream, (count, source) in sorted(sources.items()):
            prefixes = [keys.partition(name, source, p, stream) for p in range(count)]
            pictures = await _describe(scripts, prefixes, "")
            now = now or int(pictures[0].get("now", "0"))
            streams.append(_stream(name, stream, pictures))
    if not now:
        seconds, micros = await client.time()
        now = int(seconds) * 1000 + int(micros) // 1000
    states = [row["state"] for each in processors for row in each["partitions"]]
    return {
        "schema": SCHEMA,
        "at_ms": now,
        "server": {"kind": server.kind, "version": server.version, "mode": server.mode},
        "totals": {
            "lag_events": _total(each["lag_events"] for each in processors),
            "lag_ms": _most(each["lag_ms"] for each in processors),
            "free": states.count("free"),
            "quarantined": states.count("quarantined"),
            "members": len({(each["app"], each["id"]) for each in members}),
        },
        "processors": processors,
        "members": members,
        "streams": streams,
    }


def _pair(field: str) -> tuple[str, str]:
    stream, _, processor = field.partition("@")
    return stream, processor


async def _hash(client: Redis, key: str) -> dict[str, str]:
    raw: dict[Any, Any] = await client.hgetall(key)
    return {protocol.text(name): protocol.text(value) for name, value in raw.items()}


async def _describe(scripts: Scripts, prefixes: list[str], processor: str) -> list[dict[str, str]]:
    pictures: list[dict[str, str]] = []
    for at in range(0, len(prefixes), PAGE):
        calls = [protocol.describe(Place(prefix, processor)) for prefix in prefixes[at : at + PAGE]]
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


def _partitions(pictures: list[dict[str, str]], roster: Roster) -> list[Json]:
    assigned = {each.partition: each for each in roster.assignments}
    left = {each.id: each.left_ms for each in roster.members}
    rows = []
    for number, picture in enumerate(pictures):
        assignment = assigned.get(number)
        owner = picture.get("owner") if picture.get("released") == "0" else None
        owner_lives = owner is not None and left.get(owner, 0) > 0
        moving = owner_lives and assignment is not None and assignment.target not in (owner, None)
        if picture.get("quarantined") == "1":
            state = "quarantined"
        elif picture.get("paused") == "1":
            state = "paused"
        elif not owner_lives:
            state = "free"
        else:
            state = "handing-over" if moving else "owned"
        works = state in ("owned", "handing-over")
        rows.append(
            {
                "id": number,
                "state": state,
                "owner": owner if owner_lives else None,
                "epoch": _int(picture.get("epoch")),
                "session_left_ms": left[owner] if owner_lives and owner else None,
                "checkpoint": picture.get("checkpoint"),
                "last": picture.get("last", "0-0"),
                "lag_events": _lag(picture),
                "lag_ms": _lag_ms(picture),
                "processed": _int(picture.get("processed", "0")),
                "lost": _int(picture.get("lost", "0")),
                "attempts": _int(picture.get("attempts", "0")),
                "in_hand_ms": _in_hand(picture) if works else None,
                "error": _error(picture),
            }
        )
    return rows


def _lag(picture: dict[str, str]) -> int | None:
    """Events behind the checkpoint: the consumer group's own count, if it stands there."""
    checkpoint = picture.get("checkpoint")
    if checkpoint is None:
        return None
    if "lag" in picture and picture.get("shown") == checkpoint:
        return int(picture["lag"])
    if "pending" not in picture and reached(checkpoint, picture.get("last", "0-0")):
        return 0
    return None


def _lag_ms(picture: dict[str, str]) -> int | None:
    if "checkpoint" not in picture:
        return None
    if "pending" not in picture:
        return 0
    return max(0, int(picture["now"]) - parts(picture["pending"])[0])


def _in_hand(picture: dict[str, str]) -> int | None:
    """How long the holder has had the first unfinished event: since the checkpoint last moved, the
    lease was last taken, or the event came. 0 if there is none, None if that is not known."""
    if "checkpoint" in picture and "pending" not in picture:
        return 0
    moved = _int(picture.get("moved"))
    if moved is None or "pending" not in picture:
        return None
    return max(0, int(picture["now"]) - max(moved, parts(picture["pending"])[0]))


def _error(picture: dict[str, str]) -> Json | None:
    if "error_type" not in picture:
        return None
    return {
        "type": picture["error_type"],
        "message": picture.get("error_message", ""),
        "event": picture.get("error_event"),
        "at_ms": _int(picture.get("error_at")),
    }


def _processor(
    app: str, name: str, stream: str, rows: list[Json], roster: Roster, stalled_after_ms: int
) -> Json:
    lag = _total(row["lag_events"] for row in rows)
    if not any(each.left_ms > 0 for each in roster.members):
        state = "down"
    elif any((row["in_hand_ms"] or 0) > stalled_after_ms for row in rows):
        state = "stalled"
    elif any(row["state"] in ("free", "quarantined", "paused") for row in rows):
        state = "degraded"
    else:
        state = "ok"
    return {
        "app": app,
        "name": name,
        "stream": stream,
        "state": state,
        "lag_events": lag,
        "lag_ms": _most(row["lag_ms"] for row in rows),
        "partitions": rows,
    }


def _memberships(app: str, processor: str, rows: list[Json], roster: Roster) -> list[Json]:
    found = []
    for member in roster.members:
        if member.left_ms <= 0:
            continue
        words = [*member.description.split(), "", "", "", ""]
        found.append(
            {
                "id": member.id,
                "app": app,
                "processor": processor,
                "host": words[0] or None,
                "pid": _int(words[1]),
                "lang": words[2] or None,
                "version": words[3] or None,
                "partitions": [row["id"] for row in rows if row["owner"] == member.id],
                "seen_ms": max(0, roster.session_ms - member.left_ms),
            }
        )
    return found


def _stream(app: str, name: str, pictures: list[dict[str, str]]) -> Json:
    rows: list[Json] = [
        {
            "id": number,
            "length": _int(picture.get("length")),
            "first": picture.get("first"),
            "last": picture.get("last", "0-0"),
        }
        for number, picture in enumerate(pictures)
    ]
    return {
        "app": app,
        "name": name,
        "partition_count": len(rows),
        "length": _total(row["length"] for row in rows),
        "partitions": rows,
    }


def _int(text: str | None) -> int | None:
    return int(text) if text and text.lstrip("-").isdigit() else None


def _total(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(each for each in known if each is not None)


def _most(values: Iterable[int | None]) -> int | None:
    known = list(values)
    if None in known:
        return None
    return max((each for each in known if each is not None), default=0)
