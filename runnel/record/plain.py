"""Converts values to their plain form: types that every serializer and every language has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic_core import SchemaSerializer, core_schema

_PLAIN = frozenset((str, int, float, bool, bytes, type(None)))
#: Types that become text. Listed so that these values skip the slow test for a map.
_TEXT = frozenset((datetime, date, time, timedelta, Decimal, UUID))
_to_json_form = SchemaSerializer(core_schema.any_schema()).to_python


def plain(value: Any) -> Any:
    """The value as text, number, boolean, None, bytes, list, or map with text keys.

    A value of another type (datetime, Decimal, UUID, enum) becomes its canonical text, as in JSON.
    Raises ValueError for a value that has none.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in _TEXT:
        return _to_json_form(value, mode="json")
    if kind is dict or isinstance(value, Mapping):
        return {k if type(k) is str else _key(k): plain(each) for k, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return _to_json_form(value, mode="json")


def _key(key: Any) -> str:
    """The text of a map's key, as in JSON: readers of msgpack refuse other types."""
    (text,) = _to_json_form({key: None}, mode="json")
    return str(text)
