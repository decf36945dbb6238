"""Turns the fields of a record into bytes and back. Every entry names its serializer."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import msgpack
from pydantic_core import from_json

from runnel.errors import EncodeError


class Serializer(Protocol):
    """Turns a map of plain values into bytes and back.

    Plain values are text, numbers, booleans, None, bytes, lists, tuples, and maps with text keys.
    `name` starts with a lower-case letter; lower-case letters, digits, ``-`` and ``_`` may follow.
    `loads` may raise any exception on bad input.
    """

    name: str

    def dumps(self, value: dict[str, Any]) -> bytes:
        """The values as bytes."""
        ...

    def loads(self, data: bytes | memoryview) -> Any:
        """The values in bytes that `dumps` has made."""
        ...


class _Packer(threading.local):
    """The packer of one thread: to make one takes longer than to use it."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer().pack


_packer = _Packer()


class MsgpackSerializer:
    """MessagePack: the default, compact, keeps bytes as they are."""

    name = "msgpack"

    def dumps(self, value: dict[str, Any]) -> bytes:
        """Raises EncodeError for a value that MessagePack has no type for."""
        try:
            packed: bytes = _packer.pack(value)
            return packed
        except OverflowError as error:
            raise EncodeError(
                "msgpack holds integers of up to 64 bits: declare a larger number as text or "
                "Decimal"
            ) from error
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"cannot be written as msgpack: {error}") from error

    #: Raises various exceptions on bytes that are not MessagePack.
    loads = staticmethod(msgpack.unpackb)


class JSONSerializer:
    """Compact JSON in UTF-8. If orjson is installed, it writes the same bytes faster."""

    name = "json"

    def dumps(self, value: dict[str, Any]) -> bytes:
        """Raises EncodeError for bytes, NaN and infinities, which JSON cannot hold, and for lists
        and maps that are nested deeper than `loads` can read."""
        try:
            data = _fast_dumps(value) or _encode(value).encode()
            if data.count(b"[") + data.count(b"{") > _DEPTH:
                self.loads(data)
            return data
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"cannot be written as JSON: {error}") from error

    def loads(self, data: bytes | memoryview) -> Any:
        """Raises ValueError for bytes that are not JSON, or that have a number too large for a
        float. pydantic always reads it, so that the result does not depend on what is installed."""
        data = bytes(data)
        value = from_json(data, allow_inf_nan=False)
        if _may_overflow(data):
            _encode(value)  # Raises ValueError for infinities.
        return value


#: Levels of nesting that `loads` can always read.
_DEPTH = 200
#: Digits become 0, and E becomes e.
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
#: A number that Python may write differently than orjson: 1e16 as 1e+16, 0.00001 as 1e-05.
_EXPONENT = re.compile(rb"e[-0-9]")


def _may_overflow(data: bytes) -> bool:
    """Whether the data may have a number above 1e308: a text that looks like one counts, too.

    Such a number has an exponent of three digits, or very many digits.
    """
    shape = data.translate(_SHAPE, delete=b"+")
    return b"e000" in shape or (len(shape) >= 200 and b"0" * 200 in shape)


@functools.cache
def _orjson() -> Callable[[Any], bytes] | None:
    """orjson's writer, for plain values only; None if orjson is not installed."""
    try:
        import orjson
    except ImportError:
        return None
    option = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    return functools.partial(orjson.dumps, option=option | orjson.OPT_PASSTHROUGH_SUBCLASS)


def _fast_dumps(value: dict[str, Any]) -> bytes | None:
    """The bytes that the standard library would write, or None if orjson is not installed or may
    write others."""
    fast = _orjson()
    if fast is None:
        return None
    try:
        data = fast(value)
    except TypeError:
        return None
    # orjson writes NaN as null. For any null or exponent, even inside text, the slower way is used.
    if b"null" in data or b"0.0000" in data or _EXPONENT.search(data):
        return None
    return data


def _refuse(value: Any) -> NoReturn:
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError("it has no type for bytes; use the msgpack serializer, or base64 text")
    raise TypeError(f"it has no type for {type(value).__name__}")


_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_refuse
).encode
