"""Typed records: what an event carries.

A record class is a `Record` (or any pydantic model), a dataclass or a msgspec Struct. `adapt` puts
one face on all of them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, TypeVar, Unpack

from pydantic import BaseModel, ConfigDict, PydanticUserError, RootModel
from pydantic.errors import PydanticUndefinedAnnotation

from runnel.errors import ConfigError
from runnel.record.face import RecordType
from runnel.record.models import PydanticType
from runnel.record.native import native_form
from runnel.record.problems import one_line

__all__ = ["Record", "RecordType", "adapt"]

R = TypeVar("R")


class Record(BaseModel):
    """Base of record classes: a pydantic model.

    Fields, however deep, may be whatever pydantic writes as data and reads again as it was; private
    attributes and computed fields do not travel. `adapt` tells what does not come back.

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
            native_form(cls)


def adapt(cls: type[R]) -> RecordType[R]:
    """The face of a record class.

    Raises ConfigError, naming the field and the fix, if it is none, cannot be stored, or has a
    field with values that could be sent and not be read again.
    """
    if not isinstance(cls, type) or issubclass(cls, RootModel):
        raise _not_a_record(cls)
    if hasattr(cls, "__struct_config__"):
        from runnel.record.structs import StructType  # msgspec is here only with the class.

        return StructType(cls)
    if not issubclass(cls, BaseModel) and not dataclasses.is_dataclass(cls):
        raise _not_a_record(cls)
    try:
        if issubclass(cls, BaseModel):
            cls.model_rebuild()
        return PydanticType(cls)
    except (PydanticUndefinedAnnotation, NameError) as error:
        raise ConfigError(
            f"{cls.__name__} uses a type that is not defined: {one_line(error)}; define it, at "
            "the top level of a module, before the stream"
        ) from error
    except PydanticUserError as error:
        raise ConfigError(
            f"{cls.__name__} has a field that cannot be stored: {one_line(error.message)}"
        ) from error


def _not_a_record(cls: Any) -> ConfigError:
    return ConfigError(
        f"{cls!r} is not a record class: derive it from runnel.Record, or use a pydantic model "
        "with named fields, a dataclass or a msgspec Struct"
    )
