"""Handles unknown fields in records of which some classes keep such fields and others do not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import RootModel, ValidationError

from runnel.record.messages import UNDECLARED, has_key

#: Where a problem is, and whether it is an unknown field.
Problem = tuple[tuple[str | int, ...], bool]


def without_unknown(values: Any, error: ValidationError) -> Any:
    """A copy of plain values without the fields that `error` reports as unknown."""
    copy = _copy(values)
    problems = error.errors(include_url=False, include_input=False)
    _remove(copy, [(each["loc"], each["type"] in UNDECLARED) for each in problems])
    return copy


def _remove(values: Any, problems: Sequence[Problem]) -> None:
    """Remove unknown fields from `values`, to which the places of the problems are relative.

    A step that is no key of the values names a part of a union. Each part that was tried has its
    own problems: a field that one does not know may be one that another needs. So only those of the
    part that fits best are removed.
    """
    inside: defaultdict[str | int, list[Problem]] = defaultdict(list)
    parts: defaultdict[str | int, list[Problem]] = defaultdict(list)
    for (step, *rest), unknown in problems:
        if unknown and not rest:
            if isinstance(values, dict):
                values.pop(step, None)
        else:
            (inside if has_key(values, step) else parts)[step].append((tuple(rest), unknown))
    for step, those in inside.items():
        _remove(values[step], [each for each in those if each[0]])
    if parts:
        best = min(parts.values(), key=lambda part: (sum(not each[1] for each in part), len(part)))
        _remove(values, [each for each in best if each[0]])


def is_kept(record: Any, loc: tuple[str | int, ...]) -> bool:
    """Does the record keep the unknown field at `loc`?"""
    for key in loc[:-1]:
        record = getattr(record, "root", record) if isinstance(record, RootModel) else record
        if isinstance(record, Mapping):
            record = record.get(key, record)
        elif isinstance(key, int):
            record = record[key] if isinstance(record, (list, tuple)) else record
        else:
            record = getattr(record, _name(record, key), record)
    return loc[-1] in (getattr(record, "__pydantic_extra__", None) or ())


def _name(record: Any, alias: str) -> str:
    fields = getattr(type(record), "model_fields", {})
    names = [name for name, info in fields.items() if alias in (info.alias, info.validation_alias)]
    return names[0] if names else alias


def _copy(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _copy(each) for key, each in values.items()}
    if isinstance(values, list):
        return [_copy(each) for each in values]
    return values
