"""The `RecordType` of msgspec Structs. Imported only if the app uses one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import inspect, structs
from pydantic_core import from_json

from runnel.errors import ConfigError, DecodeError, RecordError
from runnel.record.culprit import culprit, raises
from runnel.record.difference import difference, parts
from runnel.record.messages import exactly, has_key, one_line, path, step, struct_problem
from runnel.record.record_type import RecordType

R = TypeVar("R")
#: A step in a path of msgspec: a field, an index, or an unnamed key of a map.
_STEP = re.compile(r"\.(\w+)|\[(?:(\d+)|\.\.\.)\]")

# Bytes stay bytes, and keys of maps become text. In JSON, bytes are base64, as msgspec writes them.
_to_plain = partial(msgspec.to_builtins, builtin_types=(bytes,), str_keys=True)
_from_plain = partial(msgspec.convert, builtin_types=(bytes,), str_keys=True)
_from_parsed_json = partial(msgspec.convert, str_keys=True)


class StructType(RecordType[R]):
    """Records of a Struct, or of a union of tagged Structs. Raises ConfigError if one of them, or
    one of their fields, cannot be stored."""

    dumps_lists = False

    def __init__(self, form: Any, classes: Sequence[type[Any]], exclude_unset: bool) -> None:
        super().__init__(form, classes)
        if exclude_unset:
            raise ConfigError(
                f"{self.name}: exclude_unset=True needs pydantic models; in a Struct a field that "
                "is msgspec.UNSET is not stored"
            )
        for struct in classes:
            _check_struct(struct)
        try:
            msgspec.json.Decoder(form)
        except TypeError as error:
            raise ConfigError(f"{self.name} cannot be stored: {one_line(error)}") from error
        self._equality_tells = all(map(_equality_tells, _types(inspect.type_info(form))))
        bytes_fields = (
            f"{struct.__name__}.{field.encode_name}"
            for struct in classes
            for field in structs.fields(struct)
            if field.type is bytes
        )
        self.bytes_field = next(bytes_fields, None)

    def load(self, values: Any) -> R:
        try:
            record: R = _from_plain(values, type=self.form)
        except Exception as error:  # A ValidationError, or the error of a `__post_init__`.
            raise DecodeError(self._problems(error, values, _from_plain)) from error
        return record

    def _dump(self, record: R) -> dict[str, Any]:
        dumped: dict[str, Any] = _to_plain(record)
        return dumped

    def _faulty_field(self, record: R) -> str:
        steps = culprit(record, lambda _, inner: raises(lambda: _to_plain(list(inner.values()))))
        return path(self.name, steps)

    def check(self, sent: R, back: R) -> None:
        if not self._equality_tells or sent != back:
            super().check(sent, back)

    def _from_json(self, text: str | bytes, ignore_unknown: bool) -> R:
        try:
            values = from_json(text, allow_inf_nan=False)
        except ValueError as error:
            raise RecordError(f"{self.name}: Invalid JSON: {one_line(error)}") from error
        try:
            record: R = _from_parsed_json(values, type=self.form)
        except ValueError as error:
            raise RecordError(self._problems(error, values, _from_parsed_json)) from error
        unknown = [] if ignore_unknown else [*_unknown(record, values, self.name)]
        if unknown:
            raise RecordError("; ".join(f"{where}: no such field" for where in unknown))
        return record

    def _fields(self, cls: type[Any]) -> set[str]:
        return set(cls.__struct_fields__)

    def _problems(self, error: Exception, values: Any, convert: Callable[..., Any]) -> str:
        """All wrong fields. msgspec stops at the first, so each field is tried alone."""
        whole = partial(self._problem, self.name, values, convert, self.form)
        if len(self.classes) > 1 or not isinstance(values, Mapping):
            return whole(error)
        problems = []
        for field in structs.fields(self.classes[0]):
            where = f"{self.name}.{field.encode_name}"
            if field.encode_name not in values:
                problems += [f"{where}: missing"] if field.required else []
                continue
            value = values[field.encode_name]
            try:
                convert(value, type=field.type)
            except ValueError as wrong:
                problems.append(self._problem(where, value, convert, field.type, wrong))
        return "; ".join(problems) or whole(error)

    @staticmethod
    def _problem(
        where: str, value: Any, convert: Callable[..., Any], kind: Any, error: Exception
    ) -> str:
        steps, inner = _steps(value, str(error), partial(convert, type=kind))
        return struct_problem(path(where, steps), str(error), inner)


def _steps(value: Any, message: str, convert: Callable[[Any], Any]) -> tuple[list[Any], Any]:
    """The keys that lead to the wrong part of a value, and this part. msgspec does not name the key
    of a map: it is the first whose value is wrong alone."""
    steps: list[Any] = []
    inner = value
    for name, index in _STEP.findall(message.partition("$")[2]):
        keys = [name] if name else [int(index)] if index else list(inner)
        for key in keys:
            if len(keys) == 1 or raises(partial(convert, _only(value, [*steps, key]))):
                steps.append(key)
                inner = inner[key]
                break
    return steps, inner


def _only(value: Any, steps: Sequence[Any]) -> Any:
    """A copy of a value in which each map on the way of `steps` has only the key of its step."""
    if not steps:
        return value
    inner = _only(value[steps[0]], steps[1:])
    if isinstance(value, dict):
        return {**value, steps[0]: inner} if len(steps) > 1 else {steps[0]: inner}
    return [*value[: steps[0]], inner, *value[steps[0] + 1 :]]


def _check_struct(struct: Any) -> None:
    name = struct.__name__
    if struct.__struct_config__.array_like:
        raise ConfigError(
            f"{name} is a Struct with array_like, which has no field names: remove it"
        )
    for field in structs.fields(struct):
        where = f"{name}.{field.name}"
        try:
            msgspec.json.Decoder(field.type)
        except TypeError as error:
            raise ConfigError(f"{where}: it cannot be stored: {one_line(error)}") from error
        if field.default is not msgspec.NODEFAULT and field.default is not msgspec.UNSET:
            _check_default(where, field.default, field.type)


def _check_default(where: str, default: Any, kind: Any) -> None:
    """msgspec does not check a default: it may have another type than the field."""
    try:
        back = _from_plain(_to_plain(default), type=kind)
    except Exception as error:
        problem = one_line(error)
    else:
        problem = difference(default, back, "it") or ""
    if problem:
        raise ConfigError(
            f"{where}: its default {exactly(default)} would not come back: {problem}; declare a "
            "type that takes it, or another default"
        )


def _types(info: Any) -> Iterator[Any]:
    """A type as msgspec describes it, and all types inside it, each class once."""
    pending, seen = [info], set[int]()
    while pending:
        each = pending.pop()
        if isinstance(each, (list, tuple)):
            pending += each
        elif isinstance(each, (inspect.Type, inspect.Field)) and id(each) not in seen:
            seen.add(id(each))
            yield each
            pending += [getattr(each, name) for name in each.__struct_fields__]


def _equality_tells(info: Any) -> bool:
    """Is a value unchanged if it is equal? Not if its class has its own `__eq__`, and not for a
    time, which may lose its zone."""
    if isinstance(info, inspect.StructType):
        return info.cls.__eq__ is msgspec.Struct.__eq__
    return not isinstance(info, (inspect.TimeType, inspect.DataclassType, inspect.CustomType))


def _unknown(record: Any, values: Any, where: str) -> Iterator[str]:
    """The paths in parsed JSON for which a Struct has no field."""
    names: dict[Any, str] = {}
    if isinstance(record, msgspec.Struct):
        names = {field.name: field.encode_name for field in structs.fields(record)}
        tag = record.__struct_config__.tag_field
        for key in values if isinstance(values, dict) else ():
            if key != tag and key not in names.values():
                yield step(where, key)
    for key, each in (parts(record) or {}).items():
        name: Any = names.get(key, key)
        name = str(name) if isinstance(values, dict) else name
        if has_key(values, name):
            yield from _unknown(each, values[name], step(where, name))
