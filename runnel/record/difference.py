"""Compares the record that is read back with the record that was sent."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, time
from enum import Enum
from typing import Any

from pydantic import BaseModel

from runnel.record.messages import exactly, one_line, step


class _Nothing:
    """Stands for a missing value."""

    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()
_MOMENTS = (datetime, time)


def difference(sent: Any, back: Any, where: str) -> str | None:
    """The first difference, in one sentence that starts with the path `where`; None if there is
    none.

    Records are the same if all their fields are the same. Private attributes and the `__eq__` of a
    class do not count. NaN equals NaN. Times are the same if their clocks and offsets are equal and
    both have a zone or neither has: names of time zones are not stored.
    """
    if sent is back:
        return None
    try:
        if type(sent) is type(back):
            fields = _fields(sent)
            if fields is not None:
                return _first_difference(fields, _fields(back) or {}, where)
            inner, others = parts(sent), parts(back)
            if inner is not None and others is not None and inner.keys() == others.keys():
                found = _first_difference(inner, others, where)
                if found or _same_members(inner, others):
                    return found
            elif isinstance(sent, (set, frozenset)):
                if sent == back and _same_members(sent, back):
                    return None
            elif inner is None and (_same(sent, back) or (sent != sent and back != back)):  # NaN
                return None
        elif _same(sent, back):
            return None
    except RecursionError:
        raise
    except Exception as error:  # From comparing values.
        return f"{where}: it cannot be compared with what comes back: {one_line(error)}"
    was, became = exactly(sent), exactly(back)
    found = f"{where}: {was} would come back as {'another value' if was == became else became}"
    return found + _hint(sent, back)


def _same(sent: Any, back: Any) -> bool:
    if isinstance(sent, _MOMENTS) and isinstance(back, _MOMENTS):
        # In Python, times in two zones are unequal in a repeated hour, and a time whose zone has
        # offsets that depend on the day equals the time without a zone.
        clock = sent.replace(tzinfo=None) == back.replace(tzinfo=None)
        zones = (sent.tzinfo is None) == (back.tzinfo is None)
        return bool(clock and zones and sent.utcoffset() == back.utcoffset())
    return bool(sent == back)


def _same_members(sent: Iterable[Any], back: Iterable[Any]) -> bool:
    """Are members of sets, or keys, that are equal also of the same form?"""
    found = {each: each for each in back}
    return not any(difference(each, found[each], "") for each in sent)


def _hint(sent: Any, back: Any) -> str:
    """The fix, if the values show it."""
    if isinstance(sent, time) and sent.tzinfo is not None:
        return "; the offset of this zone depends on the day: send a datetime"
    kind, other = type(sent), type(back)
    if kind is other or _Nothing in (kind, other):
        return ""
    related = isinstance(sent, other) or isinstance(back, kind)
    if not related and _fields(sent) is not None and _fields(back) is not None:
        return "; give the union of their classes a discriminator"
    return f"; declare it as {kind.__name__}, or give a value of type {other.__name__}"


def unset_difference(sent: Any, back: Any, where: str) -> str | None:
    """The first field, at any depth, that was set and comes back unset, or the reverse."""
    if isinstance(sent, BaseModel) and isinstance(back, BaseModel):
        for name in sorted(sent.model_fields_set ^ back.model_fields_set):
            was, became = ("set", "unset") if name in sent.model_fields_set else ("unset", "set")
            return f"{step(where, name)}: it is {was} and would come back {became}"
    others = parts(back) or {}
    for key, each in (parts(sent) or {}).items():
        if found := unset_difference(each, others.get(key), step(where, key)):
            return found
    return None


def _first_difference(sent: Mapping[Any, Any], back: Mapping[Any, Any], where: str) -> str | None:
    for name in {**sent, **back}:
        found = difference(sent.get(name, _NOTHING), back.get(name, _NOTHING), step(where, name))
        if found:
            return found
    return None


def parts(value: Any) -> dict[Any, Any] | None:
    """The parts of a value by name, key or index; None for a value without parts."""
    if isinstance(value, (list, tuple, deque)):
        return dict(enumerate(value))
    if isinstance(value, Mapping):
        return dict(value.items())
    return _fields(value)


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a record, or of an object without `__eq__`; None for other values."""
    if isinstance(value, BaseModel):
        names = [*type(value).model_fields, *(value.__pydantic_extra__ or ())]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(type(value), "__struct_fields__"):
        names = list(value.__struct_fields__)
    elif _cannot_compare(type(value)) and not isinstance(value, (Enum, type)):
        names = list(getattr(value, "__dict__", ()))
        return {name: getattr(value, name) for name in names} if names else None
    else:
        return None
    return {name: getattr(value, name, _NOTHING) for name in names}


def _cannot_compare(kind: Any) -> bool:
    return bool(kind.__eq__ is object.__eq__)
