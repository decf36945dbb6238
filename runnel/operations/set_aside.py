"""Reads what a processor has set aside, decoded and shortened, for a page. Needs no code."""

from __future__ import annotations

import json
from typing import Any

from runnel.operations import dead
from runnel.operations.log_pages import Found, merged
from runnel.operations.processor_from_registry import check_known, processor_from_registry
from runnel.operations.readable import Reader, time_of
from runnel.operations.stream_from_registry import stream_from_registry
from runnel.protocol.scripts import Scripts

Json = dict[str, Any]

#: Events of each kind that are shown, and characters of each.
MOST, LONGEST = 20, 2000


async def newest(
    scripts: Scripts, app: str, stream: str, processor: str, sink: str | None
) -> list[Json]:
    """The first parked and postponed events of a processor, and the newest letters in its stream of
    dead letters `sink`. Raises ConfigError if there is no such stream or processor."""
    found = await parked(scripts, app, stream, processor)
    return found + (await letters(scripts, app, processor, sink) if sink else [])


async def parked(scripts: Scripts, app: str, stream: str, processor: str) -> list[Json]:
    """The first parked and postponed events, partition by partition."""
    chosen = await processor_from_registry(scripts, app, stream, processor)
    await check_known(scripts, chosen.stream, processor)
    reader = Reader(chosen.stream, None)
    found: list[Json] = []
    async for item in dead.find(scripts, chosen, dead.Wanted()):
        error = f"{item.error_type}: {item.error_message}" if item.attempts else None
        found.append(
            {
                "kind": item.kind,
                "partition": item.partition,
                "event": item.event,
                "at": time_of(item.entry),
                "key": item.key.decode(errors="backslashreplace"),
                "attempts": item.attempts,
                "error": error,
                "record": _said(reader.read(Found(item.partition, item.event, item.fields))),
            }
        )
        if len(found) == MOST:
            break
    return found


async def letters(scripts: Scripts, app: str, processor: str, sink: str) -> list[Json]:
    """The newest letters of a processor."""
    spec = await stream_from_registry(scripts, app, sink)
    reader, found = Reader(spec, None), []
    ranges = dict.fromkeys(range(spec.partition_count), ("-", "+"))
    entries = merged(scripts.deployment, spec, ranges, newest_first=True)
    async for entry in entries:
        read = reader.read(entry)
        record = read.get("record")
        letter = record if isinstance(record, dict) else {}
        if letter.get("processor", processor) != processor:
            continue  # Other processors may share the stream.
        found.append(
            {
                "kind": "dead letter",
                "partition": entry.partition,
                "event": letter.get("event"),
                "at": read["at"],
                "key": None,
                "attempts": letter.get("attempts"),
                "error": _error(letter),
                "record": _shortened(letter["original"]) if "original" in letter else _said(read),
            }
        )
        if len(found) == MOST:
            break
    await entries.aclose()
    return found


def _error(letter: Json) -> str | None:
    if "error_type" not in letter:
        return None
    return f"{letter['error_type']}: {letter.get('error_message')}"


def _said(event: Json) -> str:
    """The record of an event; if it cannot be decoded, why not, and what its entry says."""
    if "record" in event:
        return _shortened(event["record"])
    return f"it cannot be decoded: {event['unreadable']}\n{_shortened(event['fields'])}"


def _shortened(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text)} characters)"
