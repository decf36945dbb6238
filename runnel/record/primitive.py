"""Primitive records: each field is stored as a field of the stream entry, for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, Flag
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runnel.errors import ConfigError, EncodeError
from runnel.record.plain import plain

#: Types that a field of a primitive record may have, besides text literals; all may be optional.
FLAT = (str, int, float, bytes, datetime, date, time, timedelta, Decimal, UUID, Enum)


class PrimitiveForm:
    """Writes the fields of a record to an entry, and reads them.

    `optional` are the fields that are left out while they are None; `enums` is field -> enum. Both
    use the names in the entry. Without both, it reads entries of any class.
    """

    def __init__(
        self, optional: frozenset[str] = frozenset(), enums: Mapping[str, type[Enum]] | None = None
    ) -> None:
        self.optional = optional
        self.enums = dict(enums or {})
        # The validator of an enum accepts 1, and not "1".
        self._members = {
            name: {primitive_bytes(name, plain(each)): plain(each) for each in kind}
            for name, kind in self.enums.items()
        }

    def write(self, values: Mapping[str, Any]) -> list[bytes]:
        """The names and values in turn. Raises EncodeError for a value that is not flat."""
        fields: list[bytes] = []
        for name, value in values.items():
            if value is not None:
                fields += (name.encode(), primitive_bytes(name, value))
        return fields

    def read(self, fields: Sequence[bytes]) -> dict[str, Any]:
        """The values by name: text if it is UTF-8, else bytes; None for an optional field that is
        missing.

        Raises an exception for fields that are not bytes, or names that are not text.
        """
        values: dict[str, Any] = dict.fromkeys(self.optional)
        for name, value in zip(fields[::2], fields[1::2], strict=True):
            if name[:1] == b"@":
                continue
            field = name.decode()
            # A field of type bytes accepts text too, and makes the same bytes of it.
            try:
                values[field] = value.decode()
            except UnicodeDecodeError:
                values[field] = value
            if field in self.enums:
                values[field] = self._member(field, value, values[field])
        return values

    def _member(self, field: str, value: bytes, text: Any) -> Any:
        members = self._members[field]
        if value not in members and issubclass(self.enums[field], Flag) and value.isdigit():
            return int(value)  # Several members at once.
        return members.get(value, text)


def primitive_bytes(name: str, value: Any) -> bytes:
    """The bytes of one plain value. Raises EncodeError, with the field, if it is not flat."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, float):
        return float.__repr__(value).encode()
    raise EncodeError(
        f"{name}: a {type(value).__name__} cannot be a field of an entry; primitive records have "
        "flat fields of text, numbers, booleans and bytes"
    )


def primitive_form(cls: type[BaseModel]) -> PrimitiveForm:
    """The primitive form of a class. Raises ConfigError, which names the field, if it has none."""
    optional, enums = set(), {}
    if cls.model_config.get("extra") == "allow":
        raise ConfigError(
            f"primitive record {cls.__name__}: fields that it does not declare would come back as "
            'text; drop extra="allow" or primitive=True'
        )
    for name, info in cls.model_fields.items():
        where = f"primitive record {cls.__name__}, field {name}"
        written = info.serialization_alias or name
        if written.startswith("@"):
            raise ConfigError(f"{where}: a name that starts with @ is a header; use another alias")
        kinds = set(_kinds(info))
        if NoneType in kinds:
            _check_default(where, info)
            optional.add(written)
        kinds.discard(NoneType)
        kind = kinds.pop() if len(kinds) == 1 else None
        if not _is_flat(kind):
            raise ConfigError(
                f"{where}: {info.annotation} is not flat; use text, a number, bool, bytes, "
                "datetime, Decimal, UUID, an enum or one of these | None, or drop primitive=True"
            )
        if isinstance(kind, type) and issubclass(kind, Enum):
            _check_members(where, kind)
            enums[written] = kind
    return PrimitiveForm(frozenset(optional), enums)


def _kinds(info: FieldInfo) -> Iterator[Any]:
    """The types of a field's annotation; NoneType is one of them if it is optional."""
    pending = [info.annotation]
    while pending:
        kind = pending.pop()
        if get_origin(kind) is Annotated:
            pending.append(get_args(kind)[0])
        elif get_origin(kind) in (Union, UnionType):
            pending += get_args(kind)
        else:
            yield kind


def _is_flat(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return all(isinstance(each, str) for each in get_args(kind))
    return isinstance(kind, type) and issubclass(kind, FLAT)


def _check_default(where: str, info: FieldInfo) -> None:
    if info.default_factory is not None or (not info.is_required() and info.default is not None):
        raise ConfigError(f"{where}: None is stored by leaving it out: let its default be None")


def _check_members(where: str, kind: type[Enum]) -> None:
    """Check that the members of an enum are stored as different bytes."""
    stored: dict[bytes, Enum] = {}
    for each in kind:
        try:
            data = primitive_bytes(each.name, plain(each))
        except Exception as error:  # EncodeError, or the error of a value without a plain form.
            raise ConfigError(
                f"{where}: the value of {each} is {each.value!r}, which is not flat; give it text "
                "or a number, or drop primitive=True"
            ) from error
        other = stored.setdefault(data, each)
        if other is not each:
            raise ConfigError(
                f"{where}: {other} and {each} are both stored as {data!r}, so one would be read as "
                "the other; give them values that differ as text, or drop primitive=True"
            )
