"""Formats what `runnel dead` shows of an event that was set aside. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from runnel.cli.event_lines import printable
from runnel.errors import RecordError
from runnel.log import one_line
from runnel.operations.dead import Item
from runnel.processor import Processor

Json = dict[str, Any]


def many(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def line(item: Item) -> str:
    """One line: since when it is set aside, which event it is, and why."""
    state = ", replaying" if item.replaying else ""
    if item.due_ms is not None:
        state += f" until {_iso(item.due_ms, 'seconds')}"
    head = f"{_iso(item.at_ms, 'seconds')}  {item.kind}{state}"
    head += f"  partition {item.partition}, event {item.event}"
    # The key of a dead letter is that of its record, which may be unreadable.
    nothing = "unknown" if item.kind == "dead letter" else "''"
    head += f", key {one_line(_key(item)) or nothing}"
    if not item.attempts:
        return f"{head}: behind another event of its key"
    error = one_line(f"{item.error_type}: {item.error_message}")
    return f"{head}, {many(item.attempts, 'attempt')}{_replays(item)}: {error}"


def _replays(item: Item) -> str:
    if not item.replays:
        return ""
    at = None if item.replayed_ms is None else _iso(item.replayed_ms, "seconds")
    if item.replays == 1:
        return f", replayed and failed again{f' at {at}' if at else ''}"
    last = f", the last time at {at}" if at else ""
    return f", replayed {item.replays} times and failed again{last}"


def detail(shown: Json) -> Iterator[str]:
    """The lines below that one: headers, record and traceback, of what `as_dict` returned."""
    for name in ("headers", "record", "unreadable"):
        if shown.get(name):
            yield f"  {name}: {json.dumps(shown[name])}"
    if shown["traceback"]:
        older = shown["kind"] != "dead letter" and shown["replays"]
        yield f"  traceback{' of the failure before its replay' if older else ''}:"
        for each in shown["traceback"].splitlines():
            yield f"    {printable(each)}"


def as_dict(found: Processor, item: Item) -> Json:
    """The item as --json prints it, with its record decoded."""
    shown: Json = {
        "kind": item.kind,
        "partition": item.partition,
        "event": item.event,
        "key": _key(item),
        "at": _iso(item.at_ms),
        "due": None if item.due_ms is None else _iso(item.due_ms),
        "replaying": item.replaying,
        "attempts": item.attempts,
        "replays": item.replays,
        "replayed": None if item.replayed_ms is None else _iso(item.replayed_ms),
        "error_type": item.error_type,
        "error_message": item.error_message,
        "traceback": item.traceback,
    }
    codec = found.stream.codec
    try:
        shown["headers"] = codec.headers(list(item.fields))
        record = codec.record_type.dump(codec.decode(list(item.fields)))
        shown["record"] = json.loads(json.dumps(record, default=_text))
    except (RecordError, ValueError) as error:
        shown["unreadable"] = str(error)
    return shown


def _key(item: Item) -> str:
    return item.key.decode(errors="backslashreplace")


def _iso(ms: int, unit: str = "milliseconds") -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec=unit)


def _text(value: Any) -> str:
    return bytes(value).decode(errors="backslashreplace")
