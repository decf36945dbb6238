"""Finds fields of a record class whose values can never be read back, when it is declared.

It visits each field once, and calls no functions of the user. Other values that cannot be read back
are found when a record is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic_core import SchemaSerializer, SchemaValidator, core_schema

from runnel.errors import ConfigError
from runnel.record.difference import difference
from runnel.record.messages import exactly, one_line
from runnel.record.plain import plain
from runnel.record.schema import Node, Spot, calls_users_code, inside, names_to_read

_WITHOUT_FORM = frozenset(("is-instance", "is-subclass", "callable", "generator"))
#: Types around another type that have a form only if that type has one.
_AROUND = frozenset(
    (
        *("default", "nullable", "model-field", "dataclass-field", "typed-dict-field"),
        *("list", "set", "frozenset", "tuple", "dict", "function-after", "custom-error"),
    )
)
_CLASSES = frozenset(("model-fields", "dataclass-args", "typed-dict"))
#: Types whose values can all be read back, and empty values of others.
_EASY: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_EMPTY: dict[str, list[Any]] = {"list": [[]], "dict": [{}], "nullable": [None], "any": [None]}


def check_record(schema: Node, found: Sequence[Spot]) -> None:
    """Raise ConfigError, which names the field and the fix, for a class with such a field."""
    definitions = {each["ref"]: each for each in schema.get("definitions", ())}
    for spot in found:
        if spot.custom:
            continue
        if spot.node.get("root_model"):
            _check_form(spot.where, spot.node["schema"])
        elif spot.node["type"] in _CLASSES:
            _check_names(spot)
            for field_name, field in inside(spot.node):
                where = f"{spot.where}.{field_name}"
                _check_form(where, field)
                if not spot.config.get("validate_default"):
                    _check_default(where, field, spot.config, definitions)


def _check_names(spot: Spot) -> None:
    """Check that each field is read by the name that it is written with, and that names differ."""
    written: dict[str, str] = {}
    for name, field in inside(spot.node):
        where = f"{spot.where}.{name}"
        alias = field.get("serialization_alias", name)
        names = names_to_read(name, field, spot.config)
        required = field.get("required", field["schema"]["type"] != "default")
        if required and (field.get("serialization_exclude") or field.get("init_only")):
            raise ConfigError(f"{where}: it is not written, so it must have a default")
        if alias not in names:
            raise ConfigError(
                f"{where}: it is written as {alias!r} and read as "
                f"{' or '.join(map(repr, names)) or 'part of another'}; give it one name with "
                f"alias=, or add {alias!r} to its validation_alias"
            )
        if alias in written:
            raise ConfigError(
                f"{where}: it is written as {alias!r}, and so is {written[alias]}; give it another "
                "alias"
            )
        written[alias] = name


def _check_form(where: str, field: Node) -> None:
    kinds = set(_formless(field))
    if "secret" in kinds:
        raise ConfigError(
            f"{where}: a secret is written as asterisks; declare it as text if all readers of "
            "Redis may know it, or give the field a serializer that encrypts it and a validator"
        )
    if kinds:
        raise ConfigError(
            f"{where}: its values cannot be written; give the field a type that holds data, or a "
            "serializer and a validator"
        )


def _formless(node: Node) -> list[str]:
    """Why no value of this type except None can be written; empty if some can."""
    kind = node["type"]
    serializer = getattr(node.get("serialization", {}).get("function"), "__name__", "")
    if serializer in ("_serialize_secret", "_serialize_secret_field"):  # By pydantic.
        return ["secret"]
    if "serialization" in node:
        return []
    if kind in _WITHOUT_FORM:
        return [kind]
    if kind == "lax-or-strict":
        return _formless(node["lax_schema"])
    if kind in ("union", "tagged-union"):
        parts = [_formless(each) for _, each in inside(node)]
        return [why for each in parts for why in each] if all(parts) else []
    if kind in _AROUND:
        return [why for _, each in inside(node) for why in _formless(each)]
    return []


def _check_default(
    where: str, field: Node, config: Mapping[str, Any], definitions: Mapping[str, Node]
) -> None:
    """pydantic does not check a default: it may have another type than the field."""
    outer = field["schema"]
    if outer["type"] != "default" or "default" not in outer or outer.get("validate_default"):
        return
    node, default = outer["schema"], outer["default"]
    if field.get("serialization_exclude") or not field.get("init", True) or _fits(node, default):
        return
    whole = _whole(node, definitions)
    if calls_users_code(whole):
        return
    fix = "declare a type that takes it, or another default"
    if isinstance(default, Enum) and not isinstance(default, (str, int)):
        fix = "derive the enum from StrEnum or IntEnum, or declare another default"
    try:
        serializer = SchemaSerializer(whole, config)  # type: ignore[arg-type]
        validator = SchemaValidator(whole, config)  # type: ignore[arg-type]
        dumped = serializer.to_python(default, by_alias=True, round_trip=True, warnings=False)
        written = plain(dumped)
    except Exception as error:
        raise ConfigError(
            f"{where}: its default {exactly(default)} cannot be written: {one_line(error)}; {fix}"
        ) from error
    says = f"{where}: its default {exactly(default)} is written as {exactly(written)}, which"
    try:
        back = validator.validate_python(written, strict=False)
    except Exception as error:
        raise ConfigError(f"{says} cannot be read again; {fix}") from error
    if difference(default, back, ""):
        raise ConfigError(f"{says} is read as {exactly(back)}; {fix}")


def _fits(node: Node, default: Any) -> bool:
    kind = node["type"]
    if type(default) is _EASY.get(kind) and node.keys() <= {"type", "metadata"}:
        return True
    return any(default is each or default == each for each in _EMPTY.get(kind, ()))


def _whole(node: Node, definitions: Mapping[str, Node]) -> Any:
    """A node together with the definitions that it refers to."""
    found: dict[str, Any] = {}
    pending = [node]
    while pending:
        each = pending.pop()
        ref = each.get("schema_ref")
        if ref is not None and ref not in found:
            found[ref] = definitions[ref]
            pending.append(definitions[ref])
        pending += [child for _, child in inside(each)]
    return core_schema.definitions_schema(dict(node), [*found.values()]) if found else node
