"""Finds the classes of a stream's records, and fields to name in messages about them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from typing_extensions import TypeAliasType

from runnel.errors import ConfigError


def members(form: Any) -> list[type[Any]]:
    """The classes of a declared record: one class, or the classes of a union; either may be in
    `Annotated` or a type alias. Raises ConfigError for a part that is not a record class."""
    origin = get_origin(form)
    if isinstance(form, TypeAliasType) or type(form).__name__ == "TypeAliasType":
        return members(form.__value__)
    if origin is Annotated:
        return members(get_args(form)[0])
    if origin in (Union, UnionType):
        return list(dict.fromkeys(each for part in get_args(form) for each in members(part)))
    if isinstance(form, type) and origin is None and _has_fields(form):
        return [form]
    raise ConfigError(
        f"{form!r} is not a record class: derive it from runnel.Record, or use a pydantic model, "
        "a dataclass, a msgspec Struct, or a union of such classes"
    )


def _has_fields(cls: type[Any]) -> bool:
    if issubclass(cls, BaseModel):
        return cls is not BaseModel
    return dataclasses.is_dataclass(cls) or hasattr(cls, "__struct_config__")


def field_of_type(classes: Iterable[type[Any]], name: str) -> str | None:
    """The path of the field that is annotated with a type of this name, if there is one."""
    for cls in classes:
        for base in cls.__mro__:
            for field, annotation in vars(base).get("__annotations__", {}).items():
                if name and re.search(rf"\b{re.escape(name)}\b", str(annotation)):
                    return f"{cls.__name__}.{field}"
    return None


def field_without_form(classes: Iterable[type[Any]]) -> str | None:
    """The path of the dataclass field whose type pydantic cannot handle, if there is one."""
    for cls in classes:
        if dataclasses.is_dataclass(cls):
            for field in dataclasses.fields(cls):
                kind: Any = get_type_hints(cls, include_extras=True).get(field.name)
                try:
                    TypeAdapter(kind)
                except PydanticUserError:
                    return f"{cls.__name__}.{field.name}"
    return None
