"""Typed records: what an event carries.

A record class is a `Record` (or any pydantic model), a dataclass or a msgspec Struct. `adapt` puts
one face on all of them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Generic,
    Literal,
    TypeVar,
    Union,
    Unpack,
    get_args,
    get_origin,
)
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticUserError,
    RootModel,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.errors import PydanticUndefinedAnnotation
from pydantic.fields import FieldInfo

from runnel.errors import ConfigError, DecodeError, EncodeError, RecordError
from runnel.serializers import plain

R = TypeVar("R")

#: What a field of a primitive record may be: these, text literals, and optionals of them.
FLAT = (str, int, float, bytes, datetime, date, time, timedelta, Decimal, UUID, Enum)


class Record(BaseModel):
    """Base of record classes: a pydantic model.

    ``class Order(Record, primitive=True)`` stores each field natively in the stream entry, so that
    other programs read it without a serializer. Its fields must then be flat; an optional field is
    left out while it is None. Raises ConfigError, naming the field, where that cannot be done.
    """

    __primitive__: ClassVar[bool] = False

    def __init_subclass__(cls, primitive: bool = False, **kwargs: Unpack[ConfigDict]) -> None:
        super().__init_subclass__(**kwargs)
        cls.__primitive__ = primitive or cls.__primitive__

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # Called once the fields are known, with the same keywords again.
        super().__pydantic_init_subclass__()
        open_parameters = cls.__pydantic_generic_metadata__["parameters"]
        # A class that is not whole yet (types defined further down) is checked by `adapt`.
        if cls.__primitive__ and cls.__pydantic_complete__ and not open_parameters:
            _check_flat(cls)


class RecordType(Generic[R]):
    """What Runnel needs of a record class: plain values out, checked records in.

    `enums` and `optional` describe the fields of a primitive record, by their names in the entry.
    """

    def __init__(self, cls: type[R]) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.primitive = bool(getattr(cls, "__primitive__", False))
        self.enums: dict[str, type[Enum]] = {}
        self.optional: frozenset[str] = frozenset()

    def dump(self, record: R) -> dict[str, Any]:
        """The record as a map of plain values: text, numbers, booleans, None, bytes, lists, maps.

        Values without a plain type (datetime, Decimal, UUID, enum) become their canonical text.
        Raises EncodeError if `record` is of another class or could not be read again.
        """
        if not isinstance(record, self.cls):
            raise EncodeError(
                f"the stream carries {self.name} records, not {type(record).__name__}: "
                f"{_shown(record)}"
            )
        try:
            return self._dump(record)
        except Exception as error:  # Whatever the class's own serializers raise.
            raise EncodeError(f"{self.name} cannot be written: {self._explain(error)}") from error

    def load(self, values: Mapping[str, Any]) -> R:
        """A checked record. Raises DecodeError naming each field that does not fit."""
        try:
            return self._load(values)
        except Exception as error:  # Whatever the class's own validators raise.
            raise DecodeError(self._explain(error, values)) from error

    def from_json(self, text: str | bytes) -> R:
        """A checked record from JSON text. Raises RecordError naming each bad field."""
        try:
            return self._from_json(text)
        except RecordError:
            raise
        except Exception as error:
            raise RecordError(self._explain(error)) from error

    def field(self, record: R, name: str) -> Any:
        """The value of a field as the record has it: an enum is an enum, a UUID a UUID."""
        return getattr(record, name)

    def has_field(self, name: str) -> bool:
        """Does the class declare this field?"""
        return name in self._fields()

    def _explain(self, error: Exception, values: Any = None) -> str:
        """One sentence on what is wrong with which fields."""
        if isinstance(error, ValidationError):
            return _problems(self.name, error)
        return f"{self.name}: {_one_line(error)}"

    def _dump(self, record: R) -> dict[str, Any]:
        raise NotImplementedError

    def _load(self, values: Mapping[str, Any]) -> R:
        raise NotImplementedError

    def _from_json(self, text: str | bytes) -> R:
        raise NotImplementedError

    def _fields(self) -> set[str]:
        raise NotImplementedError


class _PydanticType(RecordType[R]):
    """Pydantic models, and dataclasses through pydantic."""

    def __init__(self, cls: type[R]) -> None:
        super().__init__(cls)
        self._adapter = TypeAdapter(cls)
        self._validate = self._adapter.validator.validate_python
        # A plain dataclass takes any value when it is made: it is checked when it is written.
        self._unchecked = not issubclass(cls, BaseModel) and not is_pydantic_dataclass(cls)
        if self.primitive and issubclass(cls, BaseModel):
            wire = {info.serialization_alias or name: info for name, info in _check_flat(cls)}
            self.optional = frozenset(name for name, info in wire.items() if _is_optional(info))
            self.enums = {
                name: kind
                for name, info in wire.items()
                for kind in _kinds(info)
                if isinstance(kind, type) and issubclass(kind, Enum)
            }

    def _dump(self, record: R) -> dict[str, Any]:
        # Mode "json" would write bytes as text; they travel as they are. Aliases are what `load`
        # expects, and computed fields are left out as it would refuse them.
        dumped = self._adapter.dump_python(record, by_alias=True, round_trip=True, warnings=False)
        if not isinstance(dumped, dict):
            raise TypeError(f"its serializer makes a {type(dumped).__name__}, not a map of fields")
        values: dict[str, Any] = plain(dumped)
        if self._unchecked:
            self._load(values)
        return values

    def _load(self, values: Mapping[str, Any]) -> R:
        # Never strict: a strict datetime would refuse the text that it travels as.
        record: R = self._validate(values, strict=False)
        return record

    def _from_json(self, text: str | bytes) -> R:
        return self._adapter.validate_json(text)

    def _fields(self) -> set[str]:
        if issubclass(self.cls, BaseModel):
            return set(self.cls.model_fields)
        return {field.name for field in dataclasses.fields(self.cls)}  # type: ignore[arg-type]


class _StructType(RecordType[R]):
    """msgspec Structs. They take any value when they are made: they are checked when written."""

    def _dump(self, record: R) -> dict[str, Any]:
        import msgspec

        dumped = msgspec.to_builtins(record, builtin_types=(bytes,), str_keys=True)
        values: dict[str, Any] = plain(dumped)
        self._load(values)
        return values

    def _load(self, values: Mapping[str, Any]) -> R:
        import msgspec

        return msgspec.convert(values, self.cls, builtin_types=(bytes,), str_keys=True)

    def _from_json(self, text: str | bytes) -> R:
        import msgspec

        try:
            values = msgspec.json.decode(text)
        except ValueError as error:
            raise RecordError(f"{self.name}: Invalid JSON: {_one_line(error)}") from error
        try:
            return msgspec.convert(values, self.cls, str_keys=True)
        except ValueError as error:
            raise RecordError(self._explain(error, values)) from error

    def _fields(self) -> set[str]:
        return set(self.cls.__struct_fields__)  # type: ignore[attr-defined]

    def _explain(self, error: Exception, values: Any = None) -> str:
        """msgspec stops at the first bad field, so each is tried by itself to name them all."""
        import msgspec

        problems = []
        cls: Any = self.cls
        fields = msgspec.structs.fields(cls) if isinstance(values, Mapping) else ()
        for field in fields:
            place = f"{self.name}.{field.encode_name}"
            if field.encode_name not in values:
                problems += [f"{place}: missing"] if field.required else []
                continue
            try:
                msgspec.convert(values[field.encode_name], field.type, str_keys=True)
            except ValueError as wrong:
                problems.append(_struct_problem(place, str(wrong), values[field.encode_name]))
        return "; ".join(problems) or _struct_problem(self.name, str(error))


def adapt(cls: type[R]) -> RecordType[R]:
    """The face of a record class. Raises ConfigError if it is none, or cannot be stored."""
    if not isinstance(cls, type) or issubclass(cls, RootModel):
        raise _not_a_record(cls)
    struct = getattr(cls, "__struct_config__", None)
    if struct is not None:
        if struct.array_like:
            raise ConfigError(
                f"{cls.__name__} is a Struct with array_like, which has no field names: remove it"
            )
        return _StructType(cls)
    if not issubclass(cls, BaseModel) and not dataclasses.is_dataclass(cls):
        raise _not_a_record(cls)
    try:
        if issubclass(cls, BaseModel):
            cls.model_rebuild()
        return _PydanticType(cls)
    except (PydanticUndefinedAnnotation, NameError) as error:
        raise ConfigError(
            f"{cls.__name__} uses a type that is not defined: {_one_line(error)}; define it, at "
            "the top level of a module, before the stream"
        ) from error
    except PydanticUserError as error:
        raise ConfigError(
            f"{cls.__name__} has a field that cannot be stored: {_one_line(error.message)}"
        ) from error


def _not_a_record(cls: Any) -> ConfigError:
    return ConfigError(
        f"{cls!r} is not a record class: derive it from runnel.Record, or use a pydantic model "
        "with named fields, a dataclass or a msgspec Struct"
    )


def _kinds(info: FieldInfo) -> list[Any]:
    """The types that a field may have: one, or several and NoneType."""
    pending, kinds = [info.annotation], []
    while pending:
        kind = pending.pop()
        if get_origin(kind) is Annotated:
            pending.append(get_args(kind)[0])
        elif get_origin(kind) in (Union, UnionType):
            pending += get_args(kind)
        else:
            kinds.append(kind)
    return kinds


def _is_optional(info: FieldInfo) -> bool:
    return NoneType in _kinds(info)


def _is_flat(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(each, str) for each in get_args(kind))
    return isinstance(kind, type) and issubclass(kind, FLAT)


def _check_flat(cls: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """The fields of a primitive record. Raises ConfigError for one that has no native form."""
    for name, info in cls.model_fields.items():
        place = f"primitive record {cls.__name__}, field {name}"
        kinds = [kind for kind in _kinds(info) if kind is not NoneType]
        if len(kinds) != 1 or not _is_flat(kinds[0]):
            raise ConfigError(
                f"{place}: {info.annotation} is not flat; use text, a number, bool, bytes, "
                "datetime, Decimal, UUID, an enum or one of these | None, or drop primitive=True"
            )
        if _is_optional(info) and not info.is_required() and info.get_default() is not None:
            raise ConfigError(f"{place}: None is stored by leaving it out: let its default be None")
        if (info.serialization_alias or name).startswith("@"):
            raise ConfigError(f"{place}: a name that starts with @ is a header; use another alias")
    return list(cls.model_fields.items())


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


def _problems(name: str, error: ValidationError) -> str:
    """Each field that is wrong, what was expected and what was given."""
    told = []
    for each in error.errors(include_url=False)[:_MAX_PROBLEMS]:
        place = ".".join([name, *map(str, each["loc"])])
        if each["type"] == "missing":
            told.append(f"{place}: missing")
        elif each["type"] == "json_invalid":
            told.append(f"{place}: {each['msg']}")
        else:
            expected = _expectation(each["type"], each["msg"])
            told.append(f"{place}: {expected}, got {_shown(each['input'])}")
    more = error.error_count() - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _expectation(kind: str, message: str) -> str:
    match = _KIND.fullmatch(kind)
    if match and match[1] in _EXPECTED:
        return f"expected {_EXPECTED[match[1]]}"
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    return _one_line(re.sub("^Input should be ", "expected ", message))


def _struct_problem(place: str, message: str, value: Any = None) -> str:
    """msgspec's sentence with the place in front and the value behind."""
    text, _, path = message.replace("`", "").partition(" - at $")
    expected, got, _ = text.partition(", got ")
    where = f"{place}{path}"
    if got and not path and value is not None:
        return f"{where}: {expected[:1].lower()}{expected[1:]}, got {_shown(value)}"
    return f"{where}: {text[:1].lower()}{text[1:]}"


def _shown(value: Any) -> str:
    """A value as JSON has it, or as Python has it, and not much of it."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
