"""Holds reports of `inspect` against their JSON Schema. In tests no field may be missing in it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

FILE = Path(__file__).parent.parent / "runnel" / "cli" / "inspect.schema.json"


def closed(schema: Any) -> Any:
    """The schema, in which objects have no other fields than those that it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and "required" in schema:
        found["additionalProperties"] = False
    return found


@cache
def validator() -> Any:
    schema = json.loads(FILE.read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(closed(schema))


def validated(seen: dict[str, Any]) -> dict[str, Any]:
    """The report, if it is as the schema says."""
    read = json.loads(json.dumps(seen))
    errors = [f"{error.json_path}: {error.message}" for error in validator().iter_errors(read)]
    if errors:
        raise AssertionError("; ".join(errors))
    return seen
