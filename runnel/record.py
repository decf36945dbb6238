"""Typed records: what an event carries.

A record class is a `Record` (or any pydantic model), a dataclass or a msgspec Struct. `adapt` puts
one face on all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from runnel.errors import ConfigError, DecodeError, EncodeError, RecordError

R = TypeVar("R")


class Record(BaseModel):
    """Base of record classes: a pydantic model.

    ``class Order(Record, primitive=True)`` stores each field natively in the stream entry, so that
    other programs read it without a serializer. Its fields must then be flat.
    """

    __primitive__: ClassVar[bool] = False

    def __init_subclass__(cls, primitive: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__primitive__ = primitive or cls.__primitive__


class RecordType(Generic[R]):
    """What Runnel needs of a record class: plain values out, checked records in."""

    def __init__(self, cls: type[R]) -> None:
        self.cls = cls
        self.name = cls.__name__
        self.primitive = bool(getattr(cls, "__primitive__", False))

    def dump(self, record: R) -> dict[str, Any]:
        """The record as a map of plain values: text, numbers, booleans, None, bytes, lists, maps.

        Values without a plain type (datetime, Decimal, UUID, enum) become their canonical text.
        Raises EncodeError if `record` is of another class.
        """
        if not isinstance(record, self.cls):
            raise EncodeError(
                f"the stream carries {self.name} records, not {type(record).__name__}: {record!r}"
            )
        try:
            return self._dump(record)
        except (PydanticSerializationError, TypeError, ValueError) as error:
            raise EncodeError(f"{self.name} cannot be written: {error}") from error

    def load(self, values: Mapping[str, Any]) -> R:
        """A checked record. Raises DecodeError naming each field that does not fit."""
        try:
            return self._load(values)
        except ValidationError as error:
            raise DecodeError(self._explain(error)) from error
        except ValueError as error:
            raise DecodeError(f"{self.name}: {error}") from error

    def from_json(self, text: str | bytes) -> R:
        """A checked record from JSON text. Raises RecordError naming each bad field."""
        try:
            return self._from_json(text)
        except ValidationError as error:
            raise RecordError(self._explain(error)) from error
        except ValueError as error:
            raise RecordError(f"{self.name}: {error}") from error

    def has_field(self, name: str) -> bool:
        """Does the class declare this field?"""
        return name in self._fields()

    def _explain(self, error: ValidationError) -> str:
        problems = []
        for each in error.errors(include_url=False):
            place = ".".join([self.name, *map(str, each["loc"])])
            given = (
                "" if each["type"] in ("missing", "json_invalid") else f", got {each['input']!r}"
            )
            problems.append(f"{place}: {each['msg']}{given}")
        return "; ".join(problems)

    def _dump(self, record: R) -> dict[str, Any]:
        raise NotImplementedError

    def _load(self, values: Mapping[str, Any]) -> R:
        raise NotImplementedError

    def _from_json(self, text: str | bytes) -> R:
        raise NotImplementedError

    def _fields(self) -> set[str]:
        raise NotImplementedError


def _plain(value: Any) -> Any:
    """Canonical text for what has no plain type; pydantic has done the rest."""
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (str, bool, int, float, bytes)):
        return value
    return _TEXT.dump_python(value, mode="json")


_TEXT: TypeAdapter[Any] = TypeAdapter(Any)


class _PydanticType(RecordType[R]):
    """Pydantic models, and dataclasses through pydantic."""

    def __init__(self, cls: type[R]) -> None:
        super().__init__(cls)
        self._adapter = TypeAdapter(cls)

    def _dump(self, record: R) -> dict[str, Any]:
        # Mode "json" would write bytes as text; they travel as they are.
        dumped = self._adapter.dump_python(record, mode="python")
        plain: dict[str, Any] = {
            key: value if type(value) in (str, int, float, bool, bytes) else _plain(value)
            for key, value in dumped.items()
        }
        return plain

    def _load(self, values: Mapping[str, Any]) -> R:
        return self._adapter.validate_python(values)

    def _from_json(self, text: str | bytes) -> R:
        return self._adapter.validate_json(text)

    def _fields(self) -> set[str]:
        if issubclass(self.cls, BaseModel):
            return set(self.cls.model_fields)
        return {field.name for field in dataclasses.fields(self.cls)}  # type: ignore[arg-type]


class _StructType(RecordType[R]):
    """msgspec Structs."""

    def _dump(self, record: R) -> dict[str, Any]:
        import msgspec

        dumped: dict[str, Any] = msgspec.to_builtins(record, builtin_types=(bytes,))
        return dumped

    def _load(self, values: Mapping[str, Any]) -> R:
        import msgspec

        return msgspec.convert(values, self.cls, strict=not self.primitive)

    def _from_json(self, text: str | bytes) -> R:
        import msgspec

        return msgspec.json.decode(text, type=self.cls)

    def _fields(self) -> set[str]:
        return set(self.cls.__struct_fields__)  # type: ignore[attr-defined]


def adapt(cls: type[R]) -> RecordType[R]:
    """The face of a record class. Raises ConfigError if it is none."""
    if isinstance(cls, type):
        if issubclass(cls, BaseModel) or dataclasses.is_dataclass(cls):
            return _PydanticType(cls)
        if hasattr(cls, "__struct_fields__"):
            return _StructType(cls)
    raise ConfigError(
        f"{cls!r} is not a record class: derive it from runnel.Record, or use a pydantic model, "
        "a dataclass or a msgspec Struct"
    )
