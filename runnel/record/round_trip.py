"""Writes records that are known to round-trip without decoding them.

It proves this once, from the declaration of the class, for the exact types of a record's values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Flag
from operator import attrgetter
from types import NoneType
from typing import Any
from uuid import UUID

from runnel.errors import Doubt
from runnel.record.plain import plain
from runnel.record.schema import Node, inside, names_to_read

#: Makes the plain form of a value. Raises Doubt if the value is not known to round-trip.
Write = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Proof:
    """Values of exactly these types round-trip, unless `write` raises Doubt. Without `write`, a
    value is its own plain form."""

    types: frozenset[type]
    write: Write | None = None


def _moment(value: datetime) -> str:
    zone = value.tzinfo
    if zone is None:
        return value.isoformat()
    if zone is not UTC:  # The offset of another zone, and its text, depend on the date.
        raise Doubt
    return value.isoformat()[:-6] + "Z"


def _number(value: Decimal) -> str:
    if not value.is_finite():  # NaN is refused when it is read.
        raise Doubt
    return str(value)


def _one_of(texts: frozenset[str]) -> Write:
    def write(value: str) -> str:
        if value not in texts:
            raise Doubt
        return value

    return write


#: Kind of node -> proof for values of its one type.
_LEAVES = {
    "int": Proof(frozenset((int,))),
    "float": Proof(frozenset((float,))),
    "bool": Proof(frozenset((bool,))),
    "str": Proof(frozenset((str,))),
    "date": Proof(frozenset((date,)), date.isoformat),
    "datetime": Proof(frozenset((datetime,)), _moment),
    "timedelta": Proof(frozenset((timedelta,)), plain),
    "uuid": Proof(frozenset((UUID,)), str),
    "decimal": Proof(frozenset((Decimal,)), _number),
}
_NAMES = {"validation_alias", "serialization_alias"}
#: Kind of node -> keys that change no value. Other keys (limits, validators, serializers, settings
#: of the class) may change a value, or refuse it.
_HARMLESS: dict[str, set[str]] = {
    **{kind: {"microseconds_precision"} for kind in _LEAVES},
    "enum": {"cls", "members", "sub_type"},
    "literal": {"expected"},
    "list": {"items_schema"},
    "dict": {"keys_schema", "values_schema"},
    "nullable": {"schema"},
    "default": {"schema", "default", "default_factory", "default_factory_takes_data"},
    "tagged-union": {"choices", "discriminator", "from_attributes", "strict"},
    "model": {
        *("cls", "schema", "config", "custom_init", "root_model", "frozen", "generic_origin"),
    },
    "model-fields": {"fields", "model_name", "computed_fields"},
    "model-field": {"schema", "frozen", *_NAMES},
    "dataclass": {
        *("cls", "schema", "config", "fields", "frozen", "slots", "post_init", "generic_origin"),
    },
    "dataclass-args": {"fields", "dataclass_name", "collect_init_only", "computed_fields"},
    "dataclass-field": {"name", "schema", "kw_only", "init", "frozen", *_NAMES},
    "definitions": {"schema", "definitions"},
    "definition-ref": {"schema_ref"},
}
#: Settings of a class that change no value.
_HARMLESS_SETTINGS = {
    *("title", "extra_fields_behavior", "from_attributes"),
    *("validate_by_name", "validate_by_alias", "populate_by_name"),
}


def exact_dumper(schema: Node) -> Callable[[Any], Any] | None:
    """A function that returns the plain form of a record that is known to round-trip, and None for
    other records. None if no record of the class is known to."""
    proof = _Prover(schema.get("definitions", ())).prove(schema)
    if proof is None or proof.write is None:
        return None
    types, write = proof.types, proof.write

    def dump_exact(record: Any) -> Any:
        if type(record) not in types:
            return None
        try:
            return write(record)
        except Doubt:
            return None

    return dump_exact


class _Prover:
    """Makes the proofs for one schema. `definitions` are the types that its nodes refer to."""

    def __init__(self, definitions: Iterable[Node]) -> None:
        self._defined = {each["ref"]: each for each in definitions}
        #: A type has no proof while it is being proven: a type inside itself could have any depth.
        self._proven: dict[str, Proof | None] = {}

    def prove(self, node: Node) -> Proof | None:
        """The proof for the values of a node, None if there is none."""
        kind, ref = node["type"], node.get("ref")
        if not _harmless(node):
            return None
        if kind in _LEAVES:
            return _LEAVES[kind]
        if kind not in _PROVERS:
            return None
        if ref is None:
            return _PROVERS[kind](self, node)
        if ref not in self._proven:
            self._proven[ref] = None
            self._proven[ref] = _PROVERS[kind](self, node)
        return self._proven[ref]

    def inner(self, node: Node) -> Proof | None:
        return self.prove(node["schema"])

    def reference(self, node: Node) -> Proof | None:
        return self.prove(self._defined[node["schema_ref"]])

    def nullable(self, node: Node) -> Proof | None:
        proof = self.prove(node["schema"])
        if proof is None:
            return None
        write = proof.write
        optional = write and (lambda value: None if value is None else write(value))
        return Proof(proof.types | {NoneType}, optional)

    def enum(self, node: Node) -> Proof | None:
        values = [each.value for each in node["members"]]
        plain_ones = set(map(type, values)) in ({str}, {int}) and not issubclass(node["cls"], Flag)
        if not plain_ones or values != [each._value_ for each in node["members"]]:
            return None
        return Proof(frozenset((node["cls"],)), attrgetter("_value_"))

    def literal(self, node: Node) -> Proof | None:
        texts = frozenset(each for each in node["expected"] if type(each) is str)
        if len(texts) < len(node["expected"]):
            return None
        return Proof(frozenset((str,)), _one_of(texts))

    def list(self, node: Node) -> Proof | None:
        items = self.prove(node.get("items_schema", _ANY))
        return items and Proof(frozenset((list,)), _list_of(items))

    def map(self, node: Node) -> Proof | None:
        """Only with text keys: other keys become text."""
        keys = self.prove(node.get("keys_schema", _ANY))
        values = self.prove(node.get("values_schema", _ANY))
        if keys is not _LEAVES["str"] or values is None:
            return None
        return Proof(frozenset((dict,)), _map_of(values))

    def union(self, node: Node) -> Proof | None:
        """Only of classes that each have their own text as discriminator."""
        writes: dict[type, Write] = {}
        for choice in map(self._resolved, node["choices"].values()):
            proof = self.prove(choice)
            if proof is None or proof.write is None or not _has_tag(choice, node["discriminator"]):
                return None
            writes[choice["cls"]] = proof.write
        return Proof(frozenset(writes), lambda value: writes[type(value)](value))

    def record(self, node: Node) -> Proof | None:
        if node.get("custom_init") or node.get("root_model") or node.get("post_init"):
            return None
        config, fields = node.get("config", {}), node["schema"]
        if node.get("slots") or config.keys() - _HARMLESS_SETTINGS or not _harmless(fields):
            return None
        if config.get("extra_fields_behavior") == "allow":
            return None
        named = dict(inside(fields))
        if not _names_differ(named, config):
            return None
        proofs: dict[str, Proof] = {}
        for name, field in named.items():
            proof = self.inner(field) if _harmless(field) else None
            if proof is None:
                return None
            proofs[name] = proof
        names = {name: field.get("serialization_alias", name) for name, field in named.items()}
        return _fields_of(node["cls"], proofs, names)

    def _resolved(self, node: Node) -> Node:
        return self._defined[node["schema_ref"]] if node["type"] == "definition-ref" else node


_ANY: Node = {"type": "any"}
_TEXT = frozenset((str,))
_PROVERS: dict[str, Callable[[_Prover, Node], Proof | None]] = {
    "definitions": _Prover.inner,
    "default": _Prover.inner,
    "definition-ref": _Prover.reference,
    "nullable": _Prover.nullable,
    "enum": _Prover.enum,
    "literal": _Prover.literal,
    "list": _Prover.list,
    "dict": _Prover.map,
    "tagged-union": _Prover.union,
    "model": _Prover.record,
    "dataclass": _Prover.record,
}


def _harmless(node: Node) -> bool:
    kind = node["type"]
    return kind in _HARMLESS and node.keys() - {"type", "metadata", "ref"} <= _HARMLESS[kind]


def _names_differ(fields: Mapping[str, Node], config: Mapping[str, Any]) -> bool:
    """Is each field, and no other, read by the name that it is written with?"""
    read: dict[str, list[str]] = {}
    for name, field in fields.items():
        if not isinstance(field.get("validation_alias", name), str) or not field.get("init", True):
            return False
        read[name] = names_to_read(name, field, config)
    for name, field in fields.items():
        written = field.get("serialization_alias", name)
        if [other for other, names in read.items() if written in names] != [name]:
            return False
    return True


def _has_tag(node: Node, discriminator: Any) -> bool:
    """Does a class of a union have its discriminator as a literal field?"""
    for name, field in inside(node["schema"]):
        if field.get("serialization_alias", name) == discriminator:
            kind = field["schema"]
            return bool(
                (kind["schema"] if kind["type"] == "default" else kind)["type"] == "literal"
            )
    return False


def _list_of(items: Proof) -> Write:
    types, write = items.types, items.write

    def write_all(values: list[Any]) -> list[Any]:
        if not types.issuperset(map(type, values)):
            raise Doubt
        return values if write is None else [*map(write, values)]

    return write_all


def _map_of(items: Proof) -> Write:
    types, write = items.types, items.write

    def write_all(values: dict[str, Any]) -> dict[str, Any]:
        if not _TEXT.issuperset(map(type, values)):
            raise Doubt
        if not types.issuperset(map(type, values.values())):
            raise Doubt
        if write is None:
            return values
        return dict(zip(values, map(write, values.values()), strict=True))

    return write_all


def _fields_of(cls: type, proofs: Mapping[str, Proof], names: Mapping[str, str]) -> Proof:
    """The proof for a record with exactly these fields. `names` is field -> its stored name.

    It compiles the function from text, as `dataclasses` does with methods: a loop over the fields
    takes twice the time, for each nested record too.
    """
    known: dict[str, Any] = {"Doubt": Doubt}
    conditions, pairs = [f"len(values) != {len(proofs)}"], []
    for at, (name, proof) in enumerate(proofs.items()):
        value = f"value{at} := values[{name!r}]"
        if len(proof.types) == 1:
            (known[f"type{at}"],) = proof.types
            conditions.append(f"type({value}) is not type{at}")
        else:
            known[f"types{at}"] = proof.types
            conditions.append(f"type({value}) not in types{at}")
        known[f"write{at}"] = proof.write
        written = f"write{at}(value{at})" if proof.write else f"value{at}"
        pairs.append(f"{names[name]!r}: {written}")
    as_it_is = not any(proof.write for proof in proofs.values()) and all(
        name == written for name, written in names.items()
    )
    plain_form = "values" if as_it_is else "{" + ", ".join(pairs) + "}"
    code = f"""
def write(record):
    values = record.__dict__
    try:
        if {" or ".join(conditions)}:
            raise Doubt
    except KeyError:
        raise Doubt from None
    return {plain_form}
"""
    exec(code, known)
    return Proof(frozenset((cls,)), known["write"])
