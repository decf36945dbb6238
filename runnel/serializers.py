"""How the fields of a record become bytes. The name of a serializer travels with every entry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, NoReturn, Protocol

import msgpack
from pydantic import TypeAdapter

from runnel.errors import EncodeError

try:
    import orjson
except ImportError:  # Only faster: both write the same bytes and read the same values.
    orjson = None  # type: ignore[assignment]


class Serializer(Protocol):
    """Turns a map of plain values into bytes and back.

    `name` starts with a lower-case letter and goes on with these, digits, ``-`` and ``_``.
    `loads` may raise anything on bad input.
    """

    name: str

    def dumps(self, value: dict[str, Any]) -> bytes: ...

    def loads(self, data: bytes | memoryview) -> Any: ...


def plain(value: Any) -> Any:
    """Canonical text for what has no plain type, inside lists and maps too; keys become text."""
    kind = type(value)
    if value is None or kind in (str, int, float, bool, bytes):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {k if type(k) is str else _key(k): plain(each) for k, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return _ANY.dump_python(value, mode="json")


def _key(key: Any) -> str:
    """The text of a map's key, as in JSON: msgpack readers refuse keys of other types."""
    (text,) = _ANY.dump_python({key: None}, mode="json")
    return str(text)


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class MsgpackSerializer:
    """MessagePack: the default, compact, carries bytes as they are."""

    name = "msgpack"

    def dumps(self, value: dict[str, Any]) -> bytes:
        """Raises EncodeError for what MessagePack has no type for."""
        try:
            return msgpack.packb(value)
        except OverflowError as error:
            raise EncodeError(
                "msgpack holds integers of up to 64 bits: declare a larger number as text or "
                "Decimal"
            ) from error
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"cannot be written as msgpack: {error}") from error

    def loads(self, data: bytes | memoryview) -> Any:
        return msgpack.unpackb(data)


class JSONSerializer:
    """Compact JSON in UTF-8. orjson does the work where it is installed, with the same bytes."""

    name = "json"

    def dumps(self, value: dict[str, Any]) -> bytes:
        """Raises EncodeError for bytes, NaN and infinities, which JSON cannot hold."""
        try:
            return (orjson and _orjson_dumps(value)) or _encode(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"cannot be written as JSON: {error}") from error

    def loads(self, data: bytes | memoryview) -> Any:
        if orjson is not None and not _HUGE_INTEGER.search(data):
            return orjson.loads(data)
        return json.loads(bytes(data).decode(), parse_constant=_refuse_constant)


#: orjson reads integers beyond 64 bits as floats; the standard library keeps every digit. The
#: shortest of them, -9223372036854775809, has 19.
_HUGE_INTEGER = re.compile(rb"[0-9]{19}")
#: Where the two may write a number differently: 1e16 is 1e+16 to the one, 0.00001 is 1e-05.
_EXPONENT = re.compile(rb"e[-0-9]")


def _orjson_dumps(value: dict[str, Any]) -> bytes | None:
    """What the standard library would write, or None if orjson might differ from it."""
    try:
        data = orjson.dumps(value)
    except TypeError:
        return None
    # It writes NaN as null. Any null or exponent, even inside text, is worth the slower way.
    if b"null" in data or b"0.0000" in data or _EXPONENT.search(data):
        return None
    return data


def _refuse(value: Any) -> NoReturn:
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("it has no type for bytes; use the msgpack serializer, or base64 text")
    raise TypeError(f"it has no type for {type(value).__name__}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_refuse
).encode
