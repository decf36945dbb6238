"""What is wrong with a value, in one sentence: the field, what was expected, what was given."""

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
#: So many problems are named; a list of a million wrong items would name a million.
_MAX_PROBLEMS = 20
#: So many steps of a way are shown.
_MAX_STEPS = 10
#: Pydantic's names for a field that is not declared.
UNKNOWN = frozenset(("extra_forbidden", "unexpected_keyword_argument"))


def step(place: str, key: object) -> str:
    """The place inside another: `Order.items`, `Order.items[3]`, `Order.by['a b']`."""
    if isinstance(key, str) and key.isidentifier():
        return f"{place}.{key}"
    return f"{place}[{exactly(key)}]"


def path(place: str, keys: Sequence[object]) -> str:
    """The place so many steps inside another, and not much of a long way."""
    if len(keys) > _MAX_STEPS:
        keys = keys[:_MAX_STEPS]
        return f"{path(place, keys)}..."
    for key in keys:
        place = step(place, key)
    return place


def explain(name: str, error: Exception, values: object = None) -> str:
    """What pydantic, or a validator of the user's, says about the record `name`, which was to be
    made of `values`."""
    if isinstance(error, ValidationError):
        return _problems(name, error, values)
    return f"{name}: {one_line(error)}"


def _problems(name: str, error: ValidationError, values: object) -> str:
    """Each field that is wrong, what was expected and what was given."""
    told = []
    for each in error.errors(include_url=False)[:_MAX_PROBLEMS]:
        place = place_of(name, each["loc"], values)
        if each["type"] == "missing":
            told.append(f"{place}: missing")
        elif each["type"] in UNKNOWN:
            told.append(f"{place}: no such field")
        elif each["type"] == "json_invalid":
            # A record is one line: whoever reads many knows its number.
            told.append(f"{place}: {each['msg'].replace(' at line 1 column ', ' at column ')}")
        else:
            expected = _expectation(each["type"], each["msg"])
            told.append(f"{place}: {expected}, got {shown(each['input'])}")
    more = error.error_count() - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def place_of(name: str, loc: Sequence[str | int], values: object) -> str:
    """Pydantic's way to a value. Beside fields and indexes it names the parts of unions that were
    tried, and functions: what is no key of the values. A part of the union that is a stream's
    record stands for the record."""
    place = name
    for at, key in enumerate(loc):
        if key == "[key]":
            break
        if has_key(values, key):
            values = values[key]  # type: ignore[index]
        elif at < len(loc) - 1 or not isinstance(values, Mapping):
            if str(key).isidentifier():  # Not a function's.
                place = str(key) if " | " in place else f"{place}({key})"
            continue
        place = step(place, key)
    return place


def has_key(values: object, key: str | int) -> bool:
    """Does a key of pydantic's lead from these plain values into others?"""
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


def struct_problem(place: str, message: str, value: Any = None) -> str:
    """msgspec's sentence, without its own way to the value: with the place in front and the value
    behind."""
    text, _, way = message.replace("`", "").partition(" - at ")
    missing = re.fullmatch(r"Object missing required field (.+)", text)
    if missing:
        return f"{step(place, missing[1])}: missing"
    expected, got, _ = text.partition(", got ")
    expected = f"{expected[:1].lower()}{expected[1:]}"
    if way.startswith("key in"):
        return f"{place}: {expected} as key, got {got or shown(value)}"
    return f"{place}: {expected}" + (
        f", got {got if value is None else shown(value)}" if got else ""
    )


def shown(value: Any) -> str:
    """A value as JSON has it, or as Python has it, and not much of it."""
    try:
        return _short(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return exactly(value)


def exactly(value: Any) -> str:
    """A value as Python has it, and not much of it: 1 and "1", a tuple and a list differ."""
    try:
        return _short(one_line(repr(value)))
    except Exception:  # Whatever the class's own repr raises.
        return f"a {type(value).__name__}"


def reason(error: Exception) -> str:
    """What pydantic says about a class, without its advice, which is not about Runnel."""
    return re.split(r" Set `arbitrary_types| For further information", one_line(error))[0]


def one_line(message: object) -> str:
    """Text without line breaks."""
    return " ".join(str(message).split())


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
