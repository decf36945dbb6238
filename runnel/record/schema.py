"""Reads from the core schema of a class (pydantic's description) how it is written and read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from pydantic import BaseModel

Node = Mapping[str, Any]

#: Keys of a node that have inner nodes. Others describe types that pydantic builds from its own
#: functions (paths, addresses, secrets): they show nothing about the values.
_INSIDE = ("schema", "fields", "choices", "items_schema", "keys_schema", "values_schema")
#: Functions that get a value before its type does: the value may have any other type.
_CUSTOM = frozenset(("function-before", "function-wrap", "function-plain"))
#: Types whose JSON form by pydantic is the same as their form by `plain`.
_JSON_IS_PLAIN = frozenset(
    (
        *("int", "str", "float", "bool", "none", "literal", "enum", "nullable", "default"),
        *("decimal", "uuid", "date", "time", "datetime", "timedelta"),
        *("list", "set", "frozenset", "tuple", "dict", "union", "tagged-union"),
        *("model", "model-fields", "model-field", "typed-dict", "typed-dict-field"),
        *("dataclass", "dataclass-args", "dataclass-field"),
        *("definitions", "definition-ref", "function-after"),
    )
)


@dataclass(frozen=True, slots=True)
class Spot:
    """A node with its path: `where` is a class, or a class and its field.

    `custom`: do user functions change values of the node? `config` is the one of its class.
    """

    node: Node
    where: str
    config: Mapping[str, Any]
    custom: bool = False


def spots(schema: Node, name: str) -> list[Spot]:
    """Every node of the schema of the class `name`, inner nodes first.

    A type that is used more than once has the path of its first use.
    """
    found: list[Spot] = []
    definitions = {each["ref"]: each for each in schema.get("definitions", ())}
    seen: set[tuple[str, bool]] = set()

    def visit(node: Node, where: str, config: Mapping[str, Any], custom: bool) -> None:
        kind = node["type"]
        custom = custom or kind in _CUSTOM or "serialization" in node
        if "ref" in node:
            if (node["ref"], custom) in seen:
                return
            seen.add((node["ref"], custom))
        if kind == "definition-ref":
            visit(definitions[node["schema_ref"]], where, config, custom)
        if kind in ("model", "dataclass", "typed-dict"):
            config = node.get("config") or config
            where = getattr(node.get("cls"), "__name__", where)
        for field, each in inside(node):
            visit(each, f"{where}.{field}" if field else where, config, custom)
        found.append(Spot(node, where, config, custom))

    visit(schema, name, {}, False)
    return found


def inside(node: Node) -> Iterator[tuple[str, Node]]:
    """The direct inner nodes of a node, with the names of fields."""
    for key in _INSIDE:
        value = node.get(key)
        if isinstance(value, dict) and isinstance(value.get("type"), str):
            yield "", value
        elif isinstance(value, dict):
            for name, each in value.items():
                yield (name if key == "fields" else ""), each
        elif isinstance(value, list):
            for each in value:
                if isinstance(each, tuple):
                    each = each[0]  # A choice of a union and its label.
                if isinstance(each, dict):
                    yield each.get("name", ""), each


def names_to_read(name: str, field: Node, config: Mapping[str, Any]) -> list[str]:
    """The names by which a field of a class with this config is read."""
    alias = field.get("validation_alias", name)
    # One name, one path or several; a path of more than one step leads into another field.
    paths = [[alias]] if isinstance(alias, str) else alias
    paths = paths if isinstance(paths[0], list) else [paths]
    names = [path[0] for path in paths if len(path) == 1]
    if alias != name and not config.get("validate_by_alias", True):
        names = []
    if config.get("populate_by_name") or config.get("validate_by_name"):
        names.append(name)
    return names


def calls_users_code(schema: Node) -> bool:
    """Does reading or writing a value call functions that are not pydantic's own?"""
    return any(_calls(spot.node) for spot in spots(schema, ""))


def _calls(node: Node) -> bool:
    functions = [
        node.get("function", {}).get("function"),
        node.get("serialization", {}).get("function"),
        node.get("discriminator"),
        node.get("missing"),
    ]
    return bool(node.get("post_init") or node.get("custom_init")) or any(
        callable(each) and not isinstance(each, attrgetter) and not _is_pydantics(each)
        for each in functions
    )


def _is_pydantics(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == "pydantic"


def json_is_plain(found: Sequence[Spot]) -> bool:
    """Is pydantic's JSON form the plain form? Not if it would make text of bytes."""
    return not keeps_unknown(found) and not any(
        spot.custom or _json_differs(spot.node) for spot in found
    )


def _json_differs(node: Node) -> bool:
    values = node.get("members", node.get("expected", ()))
    return node["type"] not in _JSON_IS_PLAIN or any(
        isinstance(getattr(each, "value", each), bytes) for each in values
    )


def equality_tells(found: Sequence[Spot]) -> bool:
    """Is a record unchanged if its fields are equal?

    Not if a class has its own `__eq__`, or if a time may lose its zone: in Python, a time whose
    zone has offsets that depend on the day equals the time without a zone.
    """
    return not any(
        spot.custom
        or spot.node["type"] not in _JSON_IS_PLAIN | {"any", "bytes"}
        or spot.node["type"] in ("time", "dataclass", "function-after")
        or (spot.node["type"] == "model" and spot.node["cls"].__eq__ is not BaseModel.__eq__)
        for spot in found
    )


def keeps_unknown(found: Sequence[Spot]) -> bool:
    """Does one of the classes keep fields that it does not declare?"""
    return any(
        "allow" in (spot.node.get("extra_behavior"), spot.config.get("extra_fields_behavior"))
        for spot in found
    )


def bytes_field(found: Sequence[Spot]) -> str | None:
    """The first field that holds bytes."""
    for spot in found:
        if spot.node["type"] == "bytes" and not spot.custom:
            return spot.where
    return None
