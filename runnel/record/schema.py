"""What a class's core schema (pydantic's own description of it) says about its way on the wire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

Node = Mapping[str, Any]

#: Where a node has others inside it. Those left out describe a type that pydantic builds from
#: functions of its own (paths, addresses, secrets): nothing can be told from them.
_INSIDE = ("schema", "fields", "choices", "items_schema", "keys_schema", "values_schema")
#: Functions that see a value before the type does: what the type says no longer holds.
_CUSTOM = frozenset(("function-before", "function-wrap", "function-plain"))
#: Types that pydantic's own JSON form leaves as plain as `plain` does.
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
    """A node, and where it stands: `place` is a class, or a class and its field.

    `custom` means that functions of the user's stand in between, `config` is the class's.
    """

    node: Node
    place: str
    config: Mapping[str, Any]
    custom: bool = False


def spots(schema: Node, name: str) -> Iterator[Spot]:
    """Every node of the schema of the class `name`, the inner ones first.

    What the schema defines once and refers to stands where it is first met.
    """
    definitions = {each["ref"]: each for each in schema.get("definitions", ())}
    yield from _spots(Spot(schema, name, {}), definitions, set())


def _spots(
    spot: Spot, definitions: Mapping[str, Node], seen: set[tuple[str, bool]]
) -> Iterator[Spot]:
    node = spot.node
    if node["type"] in _CUSTOM or "serialization" in node:
        spot = replace(spot, custom=True)
    if node["type"] == "definition-ref" and (node["schema_ref"], spot.custom) not in seen:
        seen.add((node["schema_ref"], spot.custom))
        target = replace(spot, node=definitions[node["schema_ref"]])
        yield from _spots(target, definitions, seen)
    if node["type"] in ("model", "dataclass", "typed-dict"):
        config = node.get("config") or spot.config
        place = getattr(node.get("cls"), "__name__", spot.place)
        spot = replace(spot, place=place, config=config)
    for name, each in inside(node):
        place = f"{spot.place}.{name}" if name else spot.place
        yield from _spots(replace(spot, node=each, place=place), definitions, seen)
    yield spot


def inside(node: Node) -> Iterator[tuple[str, Node]]:
    """The nodes right inside a node; fields with their names."""
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


def runs_functions(schema: Node) -> bool:
    """Does reading a value call functions, such as validators of the user's?"""
    nodes = (spot.node for spot in spots(schema, ""))
    return any(
        node["type"].startswith("function-") or node.get("post_init") or node.get("custom_init")
        for node in nodes
    )


def json_is_plain(schema: Node) -> bool:
    """Is the JSON form that pydantic makes the plain form? Not where bytes would become text."""
    return not any(spot.custom or _json_differs(spot) for spot in spots(schema, ""))


def _json_differs(spot: Spot) -> bool:
    node = spot.node
    extra = (node.get("extra_behavior"), spot.config.get("extra_fields_behavior"))
    values = node.get("members", node.get("expected", ()))
    return (
        node["type"] not in _JSON_IS_PLAIN
        or "allow" in extra
        or any(isinstance(getattr(each, "value", each), bytes) for each in values)
    )


def place_of_bytes(schema: Node, name: str) -> str | None:
    """The first field that holds bytes."""
    for spot in spots(schema, name):
        if spot.node["type"] == "bytes" and not spot.custom:
            return spot.place
    return None
