"""Turns the values of a table into bytes and back: JSON, which every language can read."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec
from pydantic import TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from runnel.errors import ConfigError, DecodeError, EncodeError

V = TypeVar("V")

#: Types of which every value comes back as it was.
_PLAIN = (int, str, bool, type(None))


class ValueCodec(Generic[V]):
    """Values of one type. `where` names the table in messages.

    Raises ConfigError for a type that cannot be stored.
    """

    def __init__(self, where: str, form: Any) -> None:
        self._where = where
        self._form = form
        self._is_struct = isinstance(form, type) and issubclass(form, msgspec.Struct)
        if self._is_struct:
            return
        try:
            self._adapter: TypeAdapter[V] = TypeAdapter(form)
        except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, TypeError) as error:
            first = str(error).partition("\n")[0]
            raise ConfigError(f"{where}: value={form!r} cannot be stored: {first}") from error

    def dumps(self, value: V) -> bytes:
        """The bytes of a value. Raises EncodeError if it is not of the table's type, or would come
        back as another value."""
        try:
            if self._is_struct:
                data = msgspec.json.encode(value)
            else:
                checked = self._adapter.validate_python(value)
                data = self._adapter.dump_json(checked, by_alias=True)
            if type(value) in _PLAIN:
                return data
            back: object = self.loads(data)
        except Exception as error:
            raise EncodeError(f"{self._where}: {value!r} cannot be stored: {error}") from error
        if back != value:
            raise EncodeError(
                f"{self._where}: {value!r} cannot be stored: it comes back as {back!r}"
            )
        return data

    def loads(self, data: bytes) -> V:
        """The value. Raises DecodeError."""
        try:
            if self._is_struct:
                value: V = msgspec.json.decode(data, type=self._form)
                return value
            return self._adapter.validate_json(data)
        except Exception as error:
            raise DecodeError(f"{self._where}: a stored value cannot be read: {error}") from error
