"""What the declaration of a record class tells: is there a value that could not be read again?

Each kind of value that a field takes is written and read once, by the class's own rules. Where
validators or serializers of the user's take part nothing can be told, and none is called: what they
do is seen when a record is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic_core import SchemaSerializer, SchemaValidator, ValidationError

from runnel.errors import ConfigError
from runnel.record.plain import plain
from runnel.record.problems import exactly
from runnel.record.same import difference
from runnel.record.samples import Samples
from runnel.record.schema import Node, Spot, inside, names_to_read, runs_functions, spots

#: Nodes whose values may not come back, and what then helps.
_FIXES = {
    "enum": "give its members text, numbers or true and false as values",
    "literal": "use literals of text or numbers",
    "dict": "keys travel as text: use keys that can be told from it, such as text or integers",
    "union": "use one type, types that look different when they are written, or a discriminator",
    "tagged-union": "give each part a tag of its own",
}
_WITHOUT_FORM = frozenset(("is-instance", "is-subclass", "callable", "generator"))

#: What becomes of a plain value on its way: the field's place and the value to the value read.
Travel = Callable[[str, Any], Any]


def check_record(schema: Node, name: str, travel: Travel) -> None:
    """Raises ConfigError, naming the field and the fix, for a class with such a value."""
    samples = Samples(schema.get("definitions", ()))
    for spot in spots(schema, name):
        kind = spot.node["type"]
        if spot.custom:
            continue
        if kind in _WITHOUT_FORM:
            raise ConfigError(
                f"{spot.place}: its values cannot be written; give the field a type that holds "
                "data, or a serializer and a validator"
            )
        if kind in ("model-fields", "dataclass-args", "typed-dict"):
            _check_names(spot)
        elif kind in _FIXES:
            _check_values(spot, samples, travel)


def _check_names(spot: Spot) -> None:
    """Each field is read by the name that it is written with, which no other field has."""
    written: dict[str, str] = {}
    for name, field in inside(spot.node):
        place = f"{spot.place}.{name}"
        alias = field.get("serialization_alias", name)
        names = names_to_read(name, field, spot.config)
        required = field.get("required", field["schema"]["type"] != "default")
        if required and (field.get("serialization_exclude") or field.get("init_only")):
            raise ConfigError(f"{place}: it is not written, so it must have a default")
        if alias not in names:
            raise ConfigError(
                f"{place}: it is written as {alias!r} and read as "
                f"{' or '.join(map(repr, names)) or 'part of another'}; give it one name with "
                f"alias=, or add {alias!r} to its validation_alias"
            )
        if alias in written:
            raise ConfigError(
                f"{place}: it is written as {alias!r}, and so is {written[alias]}; give it another "
                "alias"
            )
        written[alias] = name


def _check_values(spot: Spot, samples: Samples, travel: Travel) -> None:
    whole = samples.whole(spot.node)
    if runs_functions(whole):
        return
    serializer = SchemaSerializer(whole, spot.config)  # type: ignore[arg-type]
    validator = SchemaValidator(whole, spot.config)  # type: ignore[arg-type]
    fix = _FIXES[spot.node["type"]]
    for sample in samples.of(spot.node):
        try:
            value = validator.validate_python(sample, strict=False)
            dumped = serializer.to_python(value, by_alias=True, round_trip=True, warnings=False)
            written = travel(spot.place, plain(dumped))
        except Exception:  # No value of this type, or none with a plain form: that is told later.
            continue
        try:
            back = validator.validate_python(written, strict=False)
        except ValidationError:
            raise ConfigError(
                f"{spot.place}: {exactly(value)} is written as {exactly(written)}, which cannot be "
                f"read again; {fix}"
            ) from None
        except Exception:  # What a function that finds the tag raises.
            continue
        if type(back) is not type(value) or difference(value, back, ""):
            raise ConfigError(
                f"{spot.place}: {exactly(value)} is written as {exactly(written)}, which is read "
                f"as {exactly(back)}; {fix}"
            )
