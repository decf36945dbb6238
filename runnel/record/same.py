"""Is the record that comes back the one that was sent?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, time
from enum import Enum
from typing import Any

from pydantic import BaseModel

from runnel.record.problems import exactly


class _Nothing:
    """Stands where there is no value."""

    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


def difference(sent: Any, back: Any, place: str) -> str | None:
    """What came back otherwise, in one sentence that starts at `place`; None if all is the same.

    Records are the same if all their fields are: private attributes do not count, nor does a
    class's own idea of equality. NaN is NaN. A moment is what its clock shows and its offset: names
    of time zones do not travel.
    """
    if sent is back:
        return None
    alike = type(sent) is type(back)
    fields = _fields(sent)
    if fields is not None and alike:
        return _first_difference(fields, _fields(back) or {}, place)
    if fields is None and (sent == back or (alike and _same_though_unequal(sent, back))):
        return None
    if alike and isinstance(sent, Mapping) and sent.keys() == back.keys():
        return _first_difference(sent, back, place)
    if alike and isinstance(sent, (list, tuple)) and len(sent) == len(back):
        return _first_difference(dict(enumerate(sent)), dict(enumerate(back)), place)
    was, became = exactly(sent), exactly(back)
    return f"{place}: {was} would come back as {'another value' if was == became else became}"


def _first_difference(sent: Mapping[Any, Any], back: Mapping[Any, Any], place: str) -> str | None:
    for name in {**sent, **back}:
        told = difference(sent.get(name, _NOTHING), back.get(name, _NOTHING), f"{place}.{name}")
        if told:
            return told
    return None


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a record, or of an object that cannot compare itself; None for all else."""
    if isinstance(value, BaseModel):
        names = [*type(value).model_fields, *(value.__pydantic_extra__ or ())]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(type(value), "__struct_fields__"):
        names = list(value.__struct_fields__)
    elif _cannot_compare(type(value)) and not isinstance(value, Enum):
        names = list(getattr(value, "__dict__", ()))
        return {name: getattr(value, name) for name in names} if names else None
    else:
        return None
    return {name: getattr(value, name, _NOTHING) for name in names}


def _cannot_compare(kind: Any) -> bool:
    return bool(kind.__eq__ is object.__eq__)


def _same_though_unequal(sent: Any, back: Any) -> bool:
    """For two values of one type."""
    if isinstance(sent, (datetime, time)):  # In a repeated hour, moments of two zones are unequal.
        clock = sent.replace(tzinfo=None) == back.replace(tzinfo=None)
        return bool(clock and sent.utcoffset() == back.utcoffset())
    return bool(sent != sent and back != back)  # NaN
