"""Makes an event readable for people and programs: a map that JSON can hold.

Nothing of it fails: what cannot be decoded is shown as the fields that it has, with the reason.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from runnel.codec.entry import EntryCodec
from runnel.dead_letter import DeadLetter
from runnel.errors import RecordError
from runnel.log import reason
from runnel.operations.log_pages import Found
from runnel.protocol.ids import parts
from runnel.stream import StreamSpec

Json = dict[str, Any]

_START = datetime(1970, 1, 1, tzinfo=UTC)
_LETTER = DeadLetter.model_fields.keys()


class Reader:
    """Reads the events of a stream. `declared` are the streams that the code declares, by name; it
    is None without code: then the entries say how to decode them, and keys are unknown.
    """

    def __init__(
        self, spec: StreamSpec[Any], declared: Mapping[str, StreamSpec[Any]] | None
    ) -> None:
        self._spec = spec
        self._declared = declared

    @property
    def knows_keys(self) -> bool:
        """Do its events have keys that are known here?"""
        if self._declared is None:
            return False
        spec = self._spec
        if spec.source == spec.name:
            return True
        return spec.codec.record_type.form is DeadLetter and spec.source in self._declared

    def read(self, found: Found) -> Json:
        """Stream, partition, id, time, key and headers; and the record, or else the fields and why
        they could not be decoded. The key is None if it is unknown, and bytes if it is known."""
        spec = self._spec
        event: Json = {
            "stream": spec.name,
            "partition": found.partition,
            "id": found.id,
            "at": time_of(found.id),
            "key": None,
            "headers": EntryCodec.headers(found.fields),
        }
        try:
            event["record"], event["key"] = self._decoded(spec, found.fields)
        except (RecordError, RecursionError) as error:
            event["unreadable"] = reason(error)
            event["fields"] = self._fields(found)
        return event

    def _decoded(self, spec: StreamSpec[Any], fields: Any) -> tuple[Any, bytes | None]:
        """The record and the key of an entry. Raises RecordError."""
        if self._declared is None:
            return self._with_original(json_form(spec.codec.plain(fields)), spec.codec, fields)
        record = spec.codec.decode(fields)
        values = json_form(spec.codec.record_type.dump(record))
        if isinstance(record, DeadLetter):
            return self._with_original(values, spec.codec, fields)
        try:
            return values, spec.key(record)
        except Exception:  # A derived stream has no keys; else it is from the user's function.
            return values, None

    def _with_original(
        self, values: Any, codec: EntryCodec[Any], fields: Any
    ) -> tuple[Any, bytes | None]:
        """If these are the values of a dead letter, the event in it takes the place of its fields.
        Returns them with the key of that event."""
        if not isinstance(values, dict) or values.keys() != _LETTER:
            return values, None
        key = None
        try:
            inner = codec.plain(fields)["fields"]
            origin = (self._declared or {}).get(values["stream"])
            if origin is None:
                original = json_form(codec.plain(inner))
            else:
                original, key = self._decoded(origin, inner)
        except (RecordError, RecursionError, AttributeError, TypeError):
            return values, None
        del values["fields"]
        return {**values, "original": original}, key

    def _fields(self, found: Found) -> Json:
        """The fields of an entry but for its headers, by name. The payload is decoded if the entry
        says how, although it is no record of the stream."""
        fields: dict[str, list[Any]] = {}
        for name, value in zip(found.fields[::2], found.fields[1::2], strict=False):
            if not name.startswith(b"@"):
                fields.setdefault(json_form(name), []).append(json_form(value))
        shown = {name: each if len(each) > 1 else each[0] for name, each in fields.items()}
        try:
            values = json_form(self._spec.codec.plain(found.fields))
        except (RecordError, RecursionError):
            return shown
        return (
            shown if found.fields[0] == b"fields" else {**shown, json_form(found.fields[0]): values}
        )


def time_of(id_: str) -> str | None:
    """The time in an id, in UTC. None if the id was made up, and is no time."""
    try:
        moment = _START + timedelta(milliseconds=parts(id_)[0])
    except OverflowError:
        return None
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def json_form(value: Any) -> Any:
    """The value as JSON can hold it. Bytes become text, with escapes for those that are no UTF-8;
    what JSON does not have becomes its text. Raises RecursionError."""
    if isinstance(value, dict):
        return {str(json_form(key)): json_form(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_form(each) for each in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="backslashreplace")
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


def with_key_text(event: Json) -> Json:
    """The event with its key as text, or as base64 if it is no UTF-8."""
    if event["key"] is None:
        return event
    key: bytes = event["key"]
    try:
        return {**event, "key": key.decode()}
    except UnicodeDecodeError:
        encoded = base64.b64encode(key).decode()
        return {
            ("key_base64" if name == "key" else name): (encoded if name == "key" else each)
            for name, each in event.items()
        }
