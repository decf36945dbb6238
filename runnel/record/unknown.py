"""Handles unknown fields in records of which some classes keep such fields and others do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import RootModel, ValidationError

from runnel.record.messages import UNDECLARED, has_key


def without_unknown(values: Any, error: ValidationError) -> Any:
    """A copy of plain values without the fields that `error` reports as unknown."""
    copy = _copy(values)
    for each in error.errors(include_url=False, include_input=False):
        if each["type"] in UNDECLARED:
            inner = copy
            for key in each["loc"][:-1]:
                inner = inner[key] if has_key(inner, key) else inner  # Else a union's part.
            if isinstance(inner, dict):
                inner.pop(each["loc"][-1], None)
    return copy


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
