"""Writes events as lines: for people, or as JSON."""

from __future__ import annotations

import json
from typing import Any

from runnel.operations.readable import with_key_text

Json = dict[str, Any]


def as_json(event: Json) -> str:
    """The event as one JSON object in one line."""
    return json.dumps(with_key_text(event))


def as_text(event: Json) -> str:
    """One line: time, partition, id, key (- if it is unknown), record, and headers."""
    words = [event["at"] or "-", "", str(event["partition"]), event["id"], "", key_text(event), ""]
    if "unreadable" in event:
        words.append(f"({event['unreadable']})")
    words.append(printable(compact(event.get("record", event.get("fields")))))
    if event["headers"]:
        headers = [f"{name}={value}" for name, value in event["headers"].items()]
        words += ["", printable(" ".join(headers))]
    return " ".join(words)


def key_text(event: Json) -> str:
    """The key for people."""
    key = event["key"]
    return "-" if key is None else printable(key.decode(errors="backslashreplace")) or '""'


def printable(text: str) -> str:
    """A text that is safe for a terminal, in one line, and otherwise as it is: characters that
    cannot be printed are escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def compact(value: Any) -> str:
    """A value as JSON, with letters of all languages as they are."""
    return json.dumps(value, ensure_ascii=False)
