"""How the fields of a record become bytes. The name of a serializer travels with every entry."""

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

    Plain are text, numbers, booleans, None, bytes, lists, tuples, and maps with keys of text.
    `name` starts with a lower-case letter and goes on with these, digits, ``-`` and ``_``.
    `loads` may raise anything on bad input.
    """

    name: str

    def dumps(self, value: dict[str, Any]) -> bytes: ...

    def loads(self, data: bytes | memoryview) -> Any: ...


class _Packer(threading.local):
    """What packs in one thread: to make it takes longer than to use it."""

    def __init__(self) -> None:
        self.pack = msgpack.Packer().pack


_packer = _Packer()


class MsgpackSerializer:
    """MessagePack: the default, compact, carries bytes as they are."""

    name = "msgpack"

    def dumps(self, value: dict[str, Any]) -> bytes:
        """Raises EncodeError for what MessagePack has no type for."""
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

    #: Raises many things on bytes that are no MessagePack.
    loads = staticmethod(msgpack.unpackb)


class JSONSerializer:
    """Compact JSON in UTF-8. Where orjson is installed it writes faster, and the same bytes."""

    name = "json"

    def dumps(self, value: dict[str, Any]) -> bytes:
        """Raises EncodeError for bytes, NaN and infinities, which JSON cannot hold, and for lists
        and maps that are nested deeper than `loads` reads."""
        try:
            data = _fast_dumps(value) or _encode(value).encode()
            if data.count(b"[") + data.count(b"{") > _DEPTH:
                self.loads(data)
            return data
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(f"cannot be written as JSON: {error}") from error

    def loads(self, data: bytes | memoryview) -> Any:
        """Raises ValueError for bytes that are no JSON, or hold a number too large for a float.

        Always read by pydantic's reader: what is read must not depend on what is installed.
        """
        data = bytes(data)
        value = from_json(data, allow_inf_nan=False)
        if _may_overflow(data):
            _encode(value)  # Refuses infinities.
        return value


#: So many levels can always be read.
_DEPTH = 200
#: Digits become 0, and E becomes e.
_SHAPE = bytes.maketrans(b"123456789E", b"000000000e")
#: Where orjson may write a number otherwise: 1e16 is 1e+16 to Python, 0.00001 is 1e-05.
_EXPONENT = re.compile(rb"e[-0-9]")


def _may_overflow(data: bytes) -> bool:
    """Has it what looks like a number above 1e308, if only in text?

    That takes an exponent of three digits, or very many digits.
    """
    shape = data.translate(_SHAPE, delete=b"+")
    return b"e000" in shape or (len(shape) >= 200 and b"0" * 200 in shape)


@functools.cache
def _orjson() -> Callable[[Any], bytes] | None:
    """orjson's writer, if there is one, for plain values and nothing else."""
    try:
        import orjson
    except ImportError:
        return None
    option = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
    return functools.partial(orjson.dumps, option=option | orjson.OPT_PASSTHROUGH_SUBCLASS)


def _fast_dumps(value: dict[str, Any]) -> bytes | None:
    """What the standard library would write, or None if orjson is not there or might differ."""
    fast = _orjson()
    if fast is None:
        return None
    try:
        data = fast(value)
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


_encode = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_refuse
).encode
