"""Explains what is wrong with a value in one sentence: field, expected, given."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

_EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "decimal": "a decimal number",
    "bool": "true or false",
    "string": "a string",
    "bytes": "bytes",
    "datetime": "an ISO 8601 date and time",
    "date": "an ISO 8601 date",
    "time": "an ISO 8601 time",
    "time_delta": "an ISO 8601 duration",
    "uuid": "a UUID",
    "list": "a list",
    "dict": "a map",
    "model": "an object",
    "dataclass": "an object",
}
_KIND = re.compile(r"(.+?)_(type|parsing|unicode|from_float|from_date_parsing)")
#: Problems that a message names at most: a list may have a million wrong items.
_MAX_PROBLEMS = 20
#: Steps of a path that a message shows at most.
_MAX_STEPS = 10
#: Pydantic's names for a field that is not declared.
UNDECLARED = frozenset(("extra_forbidden", "unexpected_keyword_argument"))


def step(where: str, key: object) -> str:
    """The path to a part: `Order.items`, `Order.items[3]`, `Order.by['a b']`."""
    if isinstance(key, str) and key.isidentifier():
        return f"{where}.{key}"
    return f"{where}[{exactly(key)}]"


def path(where: str, keys: Sequence[object]) -> str:
    """The path after several steps. A long one is shortened."""
    if len(keys) > _MAX_STEPS:
        keys = keys[:_MAX_STEPS]
        return f"{path(where, keys)}..."
    for key in keys:
        where = step(where, key)
    return where


def explain(name: str, error: Exception, values: object = None) -> str:
    """The message for an error of pydantic, or of a user's validator, about a record `name` that
    was read from `values`."""
    if isinstance(error, ValidationError):
        return _problems(name, error, values)
    return f"{name}: {one_line(error)}"


def _problems(name: str, error: ValidationError, values: object) -> str:
    """Each wrong field, with the expected and the given value."""
    found = []
    for each in error.errors(include_url=False)[:_MAX_PROBLEMS]:
        where = path_of(name, each["loc"], values)
        if each["type"] == "missing":
            found.append(f"{where}: missing")
        elif each["type"] in UNDECLARED:
            found.append(f"{where}: no such field")
        elif each["type"] == "json_invalid":
            # A record is one line; a caller that reads many lines adds the line number.
            found.append(f"{where}: {each['msg'].replace(' at line 1 column ', ' at column ')}")
        else:
            expected = _expectation(each["type"], each["msg"])
            found.append(f"{where}: {expected}, got {as_json(each['input'])}")
    more = error.error_count() - len(found)
    return "; ".join(found) + (f"; and {more} more" if more else "")


def path_of(name: str, loc: Sequence[str | int], values: object) -> str:
    """The path for a location of pydantic. A location has fields and indexes, and also the parts of
    unions that pydantic tried and functions, which are no keys of the values. If the stream's
    record is a union, the name of its part stands for the record."""
    where = name
    for at, key in enumerate(loc):
        if key == "[key]":
            break
        if has_key(values, key):
            values = values[key]  # type: ignore[index]
        elif at < len(loc) - 1 or not isinstance(values, Mapping):
            if str(key).isidentifier():  # Not a function's.
                where = str(key) if " | " in where else f"{where}({key})"
            continue
        where = step(where, key)
    return where


def has_key(values: object, key: str | int) -> bool:
    """Is `key` a key or an index of these plain values?"""
    if isinstance(values, Mapping):
        return key in values
    return isinstance(values, (list, tuple)) and isinstance(key, int) and key < len(values)


def _expectation(kind: str, message: str) -> str:
    match = _KIND.fullmatch(kind)
    if match and match[1] in _EXPECTED:
        return f"expected {_EXPECTED[match[1]]}"
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    return one_line(re.sub("^Input should be ", "expected ", message))


def struct_problem(where: str, message: str, value: Any = None) -> str:
    """A message of msgspec, with our path at the start in place of its own, and the value at the
    end."""
    text, _, steps = message.replace("`", "").partition(" - at ")
    missing = re.fullmatch(r"Object missing required field (.+)", text)
    if missing:
        return f"{step(where, missing[1])}: missing"
    expected, _, got = text.partition(", got ")
    expected = f"{expected[:1].lower()}{expected[1:]}"
    if steps.startswith("key in"):
        return f"{where}: {expected} as key, got {got or as_json(value)}"
    return f"{where}: {expected}" + (
        f", got {got if value is None else as_json(value)}" if got else ""
    )


def as_json(value: Any) -> str:
    """A value as JSON, or else as Python writes it. A long one is shortened."""
    try:
        return _short(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return exactly(value)


def exactly(value: Any) -> str:
    """A value as Python writes it: 1 and "1" differ, a tuple and a list too. Shortened if long."""
    try:
        return _short(one_line(repr(value)))
    except Exception:  # From the `__repr__` of the class.
        return f"a {type(value).__name__}"


def reason(error: Exception) -> str:
    """An error of pydantic about a class, without its advice, which does not apply to Runnel."""
    return re.split(r" Set `arbitrary_types| For further information", one_line(error))[0]


def one_line(message: object) -> str:
    """Text without line breaks."""
    return " ".join(str(message).split())


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
