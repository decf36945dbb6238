"""The lines between a worker and the program that handles its events. No I/O.

A request is one JSON object in a line, a result likewise. JSON has no bytes: they are
``{"$bytes": BASE64}``, and a map that looks like that gets another ``$``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runnel.errors import HandlerError

Json = dict[str, Any]

#: The version of these lines. A handler has it as SIDECAR in its environment.
VERSION = 1
#: Bytes of a result that are shown when it cannot be read.
_SHOWN = 200
_MARK = re.compile(r"\$+bytes")
_RESULTS = ("ok", "retry", "dead")
_NUMBERS = {math.inf: "Infinity", -math.inf: "-Infinity"}


@dataclass(frozen=True)
class Write:
    """A value for a key of a table; None removes the key. Without a key, that of the event."""

    table: str
    value: Any
    key: Any = None


@dataclass(frozen=True)
class Emit:
    """A record for another stream. A derived stream needs no key."""

    stream: str
    record: Any
    key: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What the handler says of an event, or of a batch: ok, retry or dead; and why."""

    result: str
    reason: str = ""
    writes: tuple[Write, ...] = ()
    emits: tuple[Emit, ...] = ()


def request(fields: Mapping[str, Any]) -> bytes:
    """The line of a request. Raises RecursionError for a record that is nested too deep."""
    values = to_json(fields)
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # Half a surrogate pair.
        return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def answered(line: bytes) -> tuple[int, Json]:
    """The id of the request that a line answers, and all that it says. Raises ValueError."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            f"it wrote to its stdout what is no result: {shown(line)}; only results, one JSON "
            "object in a line, belong there: what is for people belongs to stderr"
        )
    number = found.get("id")
    if type(number) is not int:
        raise ValueError(f"it wrote a result without the id of its request: {shown(line)}")
    return number, found


def read_result(found: Json) -> Result:
    """What a result says. Raises HandlerError, which names the field."""
    known = {"id", "result", "reason", "write", "emit"}
    _only(found, known, "the result")
    result, reason = found.get("result"), found.get("reason", "")
    if result not in _RESULTS:
        raise HandlerError(f'the result must be "ok", "retry" or "dead", not {shown(result)}')
    if not isinstance(reason, str):
        raise HandlerError(f"the reason must be text, not {shown(reason)}")
    effects = found.get("write", []), found.get("emit", [])
    if result != "ok" and any(effects):
        raise HandlerError(f'write and emit go with the result "ok", not with {result!r}')
    for name, each in zip(("write", "emit"), effects, strict=True):
        if not isinstance(each, list) or not all(isinstance(item, dict) for item in each):
            raise HandlerError(f"{name} must be a list of objects, not {shown(each)}")
    writes, emits = effects
    return Result(result, reason, tuple(map(_write, writes)), tuple(map(_emit, emits)))


def _write(found: Json) -> Write:
    _only(found, {"table", "key", "value"}, "an item of write")
    if "value" not in found:
        raise HandlerError(f"an item of write has no value; null removes the key: {shown(found)}")
    return Write(_text(found, "table"), from_json(found["value"]), _key(found))


def _emit(found: Json) -> Emit:
    _only(found, {"stream", "key", "record", "headers"}, "an item of emit")
    if "record" not in found:
        raise HandlerError(f"an item of emit has no record: {shown(found)}")
    headers = found.get("headers", {})
    if not isinstance(headers, dict) or not all(isinstance(v, str) for v in headers.values()):
        raise HandlerError(f"headers must be an object of texts, not {shown(headers)}")
    return Emit(_text(found, "stream"), from_json(found["record"]), _key(found), headers)


def _text(found: Json, name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise HandlerError(f"{name} must be text, not {shown(value)}")
    return value


def _key(found: Json) -> Any:
    key = from_json(found.get("key"))
    if isinstance(key, bool) or not (key is None or isinstance(key, str | int | bytes)):
        raise HandlerError(f"a key must be text or an integer, not {shown(key)}")
    return key


def _only(found: Json, known: set[str], where: str) -> None:
    if unknown := sorted(found.keys() - known):
        raise HandlerError(
            f"{where} has the unknown field {unknown[0]!r}; it may have {', '.join(sorted(known))}"
        )


def to_json(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, Mapping):
        made = {each if type(each) is str else str(each): to_json(v) for each, v in value.items()}
        if len(made) == 1 and _MARK.fullmatch(name := next(iter(made))):
            return {f"${name}": made[name]}
        return made
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return _NUMBERS.get(value, "NaN")
    return value


def from_json(value: Any) -> Any:
    """The value that `to_json` has made this of. Raises HandlerError for what is no base64."""
    if isinstance(value, list):
        return [from_json(each) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and _MARK.fullmatch(name := next(iter(value))):
        inner = value[name]
        if name != "$bytes":
            return {name[1:]: from_json(inner)}
        try:
            return base64.b64decode(inner, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise HandlerError(f"$bytes must be base64, not {shown(inner)}") from None
    return {each: from_json(inner) for each, inner in value.items()}


def shown(value: Any) -> str:
    """The beginning of a value, for people."""
    if isinstance(value, bytes):
        text = repr(value[: _SHOWN + 1].decode(errors="backslashreplace"))
    else:
        text = json.dumps(to_json(value), ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
