"""The classes that a stream's records may be of."""

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
    """The classes of a form: a class itself, a union of some, or either in `Annotated` or under a
    name. Raises ConfigError for a part that is no record class."""
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


def place_of_type(classes: Iterable[type[Any]], name: str) -> str | None:
    """The field that is declared with a type of this name."""
    for cls in classes:
        for base in cls.__mro__:
            for field, annotation in vars(base).get("__annotations__", {}).items():
                if name and re.search(rf"\b{re.escape(name)}\b", str(annotation)):
                    return f"{cls.__name__}.{field}"
    return None


def place_of_fault(classes: Iterable[type[Any]]) -> str | None:
    """The field of a dataclass that pydantic knows no form for."""
    for cls in classes:
        if dataclasses.is_dataclass(cls):
            for field in dataclasses.fields(cls):
                kind: Any = get_type_hints(cls, include_extras=True).get(field.name)
                try:
                    TypeAdapter(kind)
                except PydanticUserError:
                    return f"{cls.__name__}.{field.name}"
    return None
