"""Typed records, which events carry: `Record`, and `adapt` for all record classes.

A record class is a `Record` (or any pydantic model), a dataclass or a msgspec Struct. `adapt` makes
a `RecordType`, the same interface for all of them, and for unions of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, Unpack

from pydantic import BaseModel, ConfigDict, PydanticUserError, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation

from runnel.errors import ConfigError
from runnel.record.members import field_of_type, field_without_form, members
from runnel.record.messages import reason
from runnel.record.primitive import primitive_form
from runnel.record.pydantic_type import PydanticType
from runnel.record.record_type import RecordType

__all__ = ["Record", "RecordType", "adapt"]


class Record(BaseModel, extra="forbid"):
    """Base of record classes: a pydantic model that refuses fields it does not declare.

    A stored event may have such fields all the same, if a newer class wrote it: they are left out
    when it is read.

    Fields may have every type that pydantic writes and reads back unchanged, at any depth. Private
    attributes and computed fields are not stored.

    ``class Order(Record, primitive=True)`` stores each field as a field of the stream entry, so
    that other programs read it without a serializer. Its fields must be flat; an optional field is
    left out while it is None. Raises ConfigError, which names the field, for any other type.
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
        # A class whose types are defined later is checked by `adapt`.
        if cls.__primitive__ and cls.__pydantic_complete__ and not open_parameters:
            primitive_form(cls)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with the fields of `update`. Raises ValidationError for a field that is not
        declared. The values are checked when the record is sent."""
        cls = type(self)
        unknown = (update or {}).keys() - cls.model_fields.keys()
        if unknown and cls.model_config.get("extra") == "forbid":
            raise ValidationError.from_exception_data(
                cls.__name__,
                [
                    {"type": "extra_forbidden", "loc": (name,), "input": (update or {})[name]}
                    for name in sorted(unknown)
                ],
            )
        return super().model_copy(update=update, deep=deep)


def adapt(form: Any, exclude_unset: bool = False) -> RecordType[Any]:
    """The `RecordType` of a record class or a union of them. With `exclude_unset`, fields that were
    not set are not stored.

    Raises ConfigError, which names the field and the fix, for a class that is not a record class,
    that cannot be stored, or that has a field that can never be read back.
    """
    classes = members(form)
    name = " | ".join(each.__name__ for each in classes)
    structs = [each for each in classes if hasattr(each, "__struct_config__")]
    if structs and len(structs) < len(classes):
        raise ConfigError(f"{name}: Structs and other classes cannot share a stream")
    if structs:
        from runnel.record.msgspec_type import StructType  # Only a user of Structs has msgspec.

        return StructType(form, classes, exclude_unset)
    try:
        for each in classes:
            if issubclass(each, BaseModel):
                each.model_rebuild()
        return PydanticType(form, classes, exclude_unset)
    except (PydanticUndefinedAnnotation, NameError) as error:
        raise _undefined(name, classes, error) from error
    except PydanticUserError as error:
        try:
            where = field_without_form(classes)
        except NameError as missing:
            raise _undefined(name, classes, missing) from error
        raise ConfigError(f"{where or name} cannot be stored: {reason(error)}") from error


def _undefined(name: str, classes: Iterable[type[Any]], error: Exception) -> ConfigError:
    where = field_of_type(classes, getattr(error, "name", None) or "")
    return ConfigError(
        f"{where or name} uses a type that is not defined: {reason(error)}; define it, at the top "
        "level of a module, before the stream"
    )
