"""Records of which it is certain that they come back as they are: they need not be read to see it.

That is told from the declaration of the class, once, and the exact types of a record's values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from types import NoneType
from typing import Any
from uuid import UUID

from runnel.record.schema import Node, inside

#: Kind of node -> the type whose every value comes back, but for what `surely_comes_back` asks.
_TYPES: dict[str, type] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "date": date,
    "datetime": datetime,
    "uuid": UUID,
}
#: What a node may say beside its kind. All else (limits, validators, serializers, settings of the
#: class) may change a value on its way, or refuse it.
_HARMLESS = {
    **{kind: {"metadata", "microseconds_precision"} for kind in _TYPES},
    "nullable": {"schema", "metadata"},
    "default": {"schema", "default", "default_factory", "metadata"},
    "model-field": {"schema", "metadata", "validation_alias", "serialization_alias", "frozen"},
    "model-fields": {"fields", "model_name", "computed_fields"},
    "model": {"cls", "schema", "config", "ref", "metadata", "custom_init", "root_model", "frozen"},
}

Types = Mapping[str, frozenset[type]]


def certainty(schema: Node) -> Callable[[Any], bool] | None:
    """What tells of a record of this class if it surely comes back; None if none does."""
    types = _types_that_return(schema)
    if types is None:
        return None
    count, items = len(types), tuple(types.items())

    def surely_comes_back(record: Any) -> bool:
        """Has it these fields, and is each of a type of which every value comes back?"""
        values = record.__dict__
        if len(values) != count:
            return False
        for name, possible in items:
            value = values.get(name, _MISSING)
            kind = type(value)
            if kind not in possible:
                return False
            if kind is datetime and value.tzinfo is not None and value.tzinfo is not UTC:
                return False  # What a zone's offset is, and if it has a text, depends on when.
        return True

    return surely_comes_back


def _types_that_return(schema: Node) -> Types | None:
    """Field -> types of values that come back; None for a class of which that cannot be told."""
    if schema["type"] != "model" or schema["custom_init"] or schema["root_model"]:
        return None
    config = schema.get("config", {})
    if not _harmless(schema) or config.keys() - {"title", "extra_fields_behavior"}:
        return None
    fields = schema["schema"]
    if config.get("extra_fields_behavior") == "allow" or not _harmless(fields):
        return None
    types = {name: _types(field) for name, field in inside(fields)}
    return types if all(types.values()) else None


_MISSING = object()


def _harmless(node: Node) -> bool:
    kind = node["type"]
    return kind in _HARMLESS and node.keys() - {"type"} <= _HARMLESS[kind]


def _types(node: Node) -> frozenset[type]:
    """The types of a field's values that come back; none if it may be otherwise."""
    if not _harmless(node) or node["type"] in ("model", "model-fields"):
        return frozenset()
    if node["type"] in _TYPES:
        return frozenset((_TYPES[node["type"]],))
    types = _types(node["schema"])
    return types | {NoneType} if types and node["type"] == "nullable" else types
