"""How the fields of a record become bytes. The name of a serializer travels with every entry."""

from __future__ import annotations

import json
from typing import Any, Protocol

import msgpack

from runnel.errors import EncodeError

try:
    import orjson
except ImportError:  # Only faster: both write the same bytes.
    orjson = None  # type: ignore[assignment]


class Serializer(Protocol):
    """Turns a map of plain values into bytes and back.

    `name` is lower-case letters, digits, ``-`` and ``_``. `loads` may raise anything on bad input.
    """

    name: str

    def dumps(self, value: dict[str, Any]) -> bytes: ...

    def loads(self, data: bytes) -> Any: ...


class MsgpackSerializer:
    """MessagePack: the default, compact, carries bytes as they are."""

    name = "msgpack"

    def dumps(self, value: dict[str, Any]) -> bytes:
        try:
            return msgpack.packb(value)
        except (OverflowError, TypeError, ValueError) as error:
            raise EncodeError(f"cannot be written as msgpack: {error}") from error

    def loads(self, data: bytes) -> Any:
        return msgpack.unpackb(data)


class JSONSerializer:
    """Compact JSON in UTF-8. orjson does the work where it is installed, with the same bytes."""

    name = "json"

    def dumps(self, value: dict[str, Any]) -> bytes:
        try:
            if orjson is not None and _fits_orjson(value):
                return orjson.dumps(value)
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
            return text.encode()
        except (TypeError, ValueError) as error:
            raise EncodeError(
                f"cannot be written as JSON: {error} (bytes need the msgpack serializer)"
            ) from error

    def loads(self, data: bytes) -> Any:
        return orjson.loads(data) if orjson is not None else json.loads(data)


def _fits_orjson(value: Any) -> bool:
    """orjson writes floats in a form of its own and NaN as null: those go to the stdlib."""
    if isinstance(value, dict):
        return all(_fits_orjson(each) for each in value.values())
    if isinstance(value, list):
        return all(_fits_orjson(each) for each in value)
    return (
        value is None
        or type(value) in (str, bool)
        or (type(value) is int and -(2**63) <= value < 2**63)
    )
