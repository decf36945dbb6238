"""Sample values of a type: at least one of each kind that it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic_core import SchemaValidator, ValidationError, core_schema

from runnel.record.schema import Node, inside, names_to_read, runs_functions

_SAMPLES: dict[str, list[Any]] = {
    "none": [None],
    "bool": [True],
    "int": [1],
    "float": [1.5],
    "decimal": [Decimal("2")],
    "str": ["a"],
    "bytes": [b"a"],
    "uuid": [UUID(int=1)],
    "date": [date(2024, 1, 2)],
    "time": [time(3, 4, 5)],
    "datetime": [datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)],
    "timedelta": [timedelta(seconds=1)],
}


class Samples:
    """Makes samples of the types in one schema; `definitions` are what its nodes refer to."""

    def __init__(self, definitions: Sequence[Node]) -> None:
        self._definitions = {each["ref"]: each for each in definitions}

    def whole(self, node: Node) -> Any:
        """A node with what it refers to, so that it stands by itself."""
        if not self._definitions:
            return node
        definitions: list[Any] = list(self._definitions.values())
        return core_schema.definitions_schema(dict(node), definitions)

    def of(self, node: Node, within: frozenset[str] = frozenset()) -> list[Any]:
        """Samples of a type; none of a type whose values only the user's functions can make.

        `within` has the definitions that are being sampled: a type inside itself has no sample.
        """
        kind = node["type"]
        if kind == "enum":
            return list(node["members"])
        if kind == "literal":
            return list(node["expected"])
        if kind == "nullable":
            return [None, *self.of(node["schema"], within)]
        if kind == "definition-ref" and node["schema_ref"] not in within:
            ref = node["schema_ref"]
            return self.of(self._definitions[ref], within | {ref})
        if kind in ("union", "tagged-union"):
            return [each for _, choice in inside(node) for each in self.of(choice, within)]
        if kind in ("default", "model-field", "dataclass-field"):
            return self.of(node["schema"], within)
        if kind in ("list", "set", "frozenset"):
            return self._collections(node, within)
        if kind == "tuple":
            items = [self.of(each, within) for _, each in inside(node)]
            return [tuple(each[0] for each in items)] if all(items) else []
        if kind == "dict":
            return self._maps(node, within)
        if kind in ("model", "dataclass"):
            return self._records(node, within)
        return _SAMPLES.get(kind, [])

    def _collections(self, node: Node, within: frozenset[str]) -> list[Any]:
        make = {"list": list, "set": set, "frozenset": frozenset}[node["type"]]
        found = []
        for each in self.of(node.get("items_schema", {"type": "any"}), within):
            with contextlib.suppress(TypeError):  # What has no hash.
                found.append(make([each]))
        return found

    def _maps(self, node: Node, within: frozenset[str]) -> list[Any]:
        keys = self.of(node.get("keys_schema", {"type": "str"}), within)
        values = self.of(node.get("values_schema", {"type": "int"}), within)
        pairs = [(key, values[0]) for key in keys if values]
        pairs += [(keys[0], value) for value in values[1:] if keys]
        found = []
        for key, value in pairs:
            with contextlib.suppress(TypeError):
                found.append({key: value})
        return found

    def _records(self, node: Node, within: frozenset[str]) -> list[Any]:
        """One instance, made from the first sample of each field."""
        whole = self.whole(node)
        if runs_functions(whole):
            return []
        values = {}
        for name, field in inside(node["schema"]):
            names = names_to_read(name, field, node.get("config", {}))
            samples = self.of(field, within)
            if names and samples:
                values[names[0]] = samples[0]
        try:
            return [SchemaValidator(whole).validate_python(values, strict=False)]
        except ValidationError:  # A field without a sample, or a limit that it does not keep.
            return []
