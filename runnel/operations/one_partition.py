"""Reads what `runnel inspect` shows of one partition of a processor, beyond its row: the event that
it is at, and what is set aside. Each read is bounded, and registers nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError

from runnel import keys, protocol
from runnel.errors import ConfigError
from runnel.operations.figures import failed_before_first
from runnel.operations.log_pages import Found
from runnel.operations.readable import Reader, json_form, time_of, with_key_text
from runnel.operations.stream_from_registry import stream_from_registry
from runnel.protocol import PartitionKeys, text
from runnel.protocol.ids import parts
from runnel.protocol.parked import ParkedEvent, ParkedKey, read_parked, read_parked_key
from runnel.protocol.scripts import Scripts
from runnel.stream import StreamSpec

Json = dict[str, Any]

#: Entries of each kind that are read: each may have a megabyte.
MOST = 10


@dataclass(frozen=True)
class _Source:
    """Where to read: the stream, that of its dead letters if there is one, how to decode both, and
    the name of the processor. `raw` keeps the bytes of the event."""

    stream: StreamSpec[Any]
    reader: Reader
    sink: StreamSpec[Any] | None
    processor: str
    raw: bool
    letters: Reader | None


async def look(
    scripts: Scripts,
    seen: Json,
    number: int,
    declared: Mapping[str, StreamSpec[Any]] | None,
    stalled_after_ms: int,
    raw: bool = False,
) -> Json:
    """What is to be seen of a partition of the only processor in a report.

    `declared` are the streams in the code of the app; it is None without code. A list that the user
    of Redis may not read is None. Raises ConfigError if there is no such partition, and redis-py's
    errors.
    """
    (processor,) = seen["processors"]
    rows = {row["id"]: row for row in processor["partitions"]}
    if number not in rows:
        of = f"{processor['app']}/{processor['name']}"
        raise ConfigError(f"PARTITION must be 0 to {len(rows) - 1} for {of}, not {number}")
    row, source = rows[number], await _source(scripts, processor, declared, raw)
    names = PartitionKeys(source.stream.prefix(number), source.processor)
    fields = await _ask(scripts, names.state, "HMGET", names.state, "error_traceback", "history")
    traceback, history = ((each or b"").decode(errors="replace") for each in fields)
    in_hand = row["current_event_ms"] or 0
    return {
        "id": number,
        "stalled": in_hand > stalled_after_ms and not row["waits_for"],
        "traceback": traceback,
        "history": [each._asdict() for each in protocol.read_history(history)],
        "event": await _event(scripts, source, row),
        "parked": await _parked(scripts, names) if row["parked"] else [],
        "postponed": await _postponed(scripts, names, seen["at_ms"]) if row["postponed"] else [],
        "dead_letters": await _letters(scripts, source, number),
    }


async def _source(
    scripts: Scripts, processor: Json, declared: Mapping[str, StreamSpec[Any]] | None, raw: bool
) -> _Source:
    async def spec(name: str) -> StreamSpec[Any]:
        if declared and name in declared:
            return declared[name]
        return await stream_from_registry(scripts, processor["app"], name)

    def reader(of: StreamSpec[Any]) -> Reader:
        return Reader(of, declared if declared and of.name in declared else None)

    stream, letters = await spec(processor["stream"]), processor["dead_letters"]
    sink = await spec(letters["stream"]) if letters else None
    name = processor["name"]
    return _Source(stream, reader(stream), sink, name, raw, reader(sink) if sink else None)


async def _event(scripts: Scripts, source: _Source, row: Json) -> Json | None:
    """The event that has failed, or else the first one after the checkpoint; None if there is
    none."""
    error, checkpoint = row["error"], row["checkpoint"]
    named = error["event"] if error else None
    failed = named is not None and not failed_before_first(named, checkpoint)
    if not failed and checkpoint is None:
        return None
    first, last = (named, named) if failed else (f"({checkpoint}", "+")
    log = keys.log(source.stream.prefix(row["id"]))
    found = await _ask(scripts, log, "XRANGE", log, first, last, "COUNT", 1)
    if not found:
        return {"id": named, "failed": True, "gone": True} if failed else None
    id_, fields = found[0]
    entry = Found(row["id"], text(id_), fields)
    event: Json = {**with_key_text(source.reader.read(entry)), "failed": failed, "gone": False}
    if source.raw:
        pairs = zip(fields[::2], fields[1::2], strict=False)
        event["raw"] = [[repr(bytes(name))[2:-1], repr(bytes(each))[2:-1]] for name, each in pairs]
    return event


async def _parked(scripts: Scripts, names: PartitionKeys) -> list[Json]:
    """The keys of the first parked events, in the order in which they were parked."""
    log, of_keys, marks = protocol.parked_names(names)
    entries = await _ask(scripts, log, "XRANGE", log, "-", "+", "COUNT", MOST)
    read = [read_parked(*each) for each in entries]
    first = {
        each.key: each for each in reversed(read) if protocol.key_of_postponed(each.key) is None
    }
    order = [each.key for each in read if first.get(each.key) is each]
    if not order:
        return []
    counts = await _ask(scripts, of_keys, "HMGET", of_keys, *order)
    replayed = await _ask(scripts, marks, "HMGET", marks, *order)
    return [
        {
            "key": _key(key),
            "events": of_key.count,
            "replaying": mark is not None,
            **_failure(first[key], of_key),
        }
        for key, value, mark in zip(order, counts, replayed, strict=True)
        if value is not None and (of_key := read_parked_key(value))
    ]


async def _postponed(scripts: Scripts, names: PartitionKeys, now_ms: int) -> list[Json]:
    """The postponed events that are due next."""
    log, of_keys, _ = protocol.parked_names(names)
    which = names.postponed
    pairs = await _ask(scripts, which, "ZRANGE", which, 0, MOST - 1, "WITHSCORES")
    due = protocol.read_due_times(pairs)
    reads = [(log, ("XRANGE", log, entry, entry)) for entry in due]
    replies = await scripts.deployment.ask(reads)
    found = [read_parked(*each) for reply in replies for each in reply]
    if not found:
        return []
    counts = await _ask(scripts, of_keys, "HMGET", of_keys, *(each.key for each in found))
    return [
        {
            "key": _key(protocol.key_of_postponed(each.key) or each.key),
            "due_in_ms": max(0, due[each.entry] - now_ms),
            **_failure(each, read_parked_key(value) if value is not None else ParkedKey(1)),
        }
        for each, value in zip(found, counts, strict=True)
    ]


def _failure(entry: ParkedEvent, of_key: ParkedKey) -> Json:
    """The event of a parked entry and how it failed; a failed replay is newer than the entry."""
    newer = of_key if of_key.event == entry.event else entry
    error = f"{newer.error_type}: {newer.error_message}" if newer.attempts else None
    return {
        "event": entry.event,
        "at_ms": parts(entry.entry)[0],
        "attempts": newer.attempts,
        "error": error,
    }


async def _letters(scripts: Scripts, source: _Source, number: int) -> list[Json] | None:
    """The newest dead letters of this partition, the newest first."""
    if source.sink is None or source.letters is None:
        return []
    log = keys.log(source.sink.prefix(number))
    try:
        entries = await _ask(scripts, log, "XREVRANGE", log, "+", "-", "COUNT", MOST)
    except NoPermissionError:
        return None
    found = []
    for id_, fields in entries:
        letter = source.letters.read(Found(number, text(id_), fields)).get("record")
        if not isinstance(letter, dict) or letter.get("processor") != source.processor:
            continue  # Other processors may share the stream, and others may write to it.
        found.append(
            {
                "event": letter.get("event"),
                "at": time_of(text(id_)),
                "attempts": letter.get("attempts"),
                "error": f"{letter.get('error_type')}: {letter.get('error_message')}",
                "record": letter.get("original"),
            }
        )
    return found


def _key(key: bytes) -> str:
    """A key as JSON can hold it."""
    return str(json_form(key))


async def _ask(scripts: Scripts, key: str, *command: Any) -> Sequence[Any]:
    (reply,) = await scripts.deployment.ask([(key, command)])
    found: Sequence[Any] = reply
    return found
