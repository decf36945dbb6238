"""Turns the values of a table into bytes and back: JSON, which every language can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_json

from runnel.errors import ConfigError, DecodeError, EncodeError
from runnel.record.messages import exactly

V = TypeVar("V")

#: Types of which every value that can be written comes back as it was, and how it is written. An
#: integer with more digits than Python reads cannot be written.
_PLAIN: dict[type, Callable[[Any], bytes]] = {int: b"%d".__mod__, str: to_json, bool: to_json}
#: Types of values that nobody can change in place.
_IMMUTABLE = (int, str, bool, float, bytes, type(None))


class ValueCodec(Generic[V]):
    """Values of one type. `where` names the table in messages.

    Raises ConfigError for a type that cannot be stored.
    """

    def __init__(self, where: str, form: Any) -> None:
        self._where = where
        self._form = form
        self._write_plain = _PLAIN.get(form) if isinstance(form, type) else None
        #: No value of this type can be changed in place.
        self.immutable = self._write_plain is not None
        self._is_struct = isinstance(form, type) and hasattr(form, "__struct_fields__")
        if self._is_struct:
            return
        try:
            self._adapter: TypeAdapter[V] = _adapter(form)
            self._adapter.core_schema["type"]  # Raises if it has names that stand for nothing.
            self._read: Callable[[bytes], V] = self._adapter.validator.validate_json
        except (PydanticUserError, NameError, TypeError) as error:
            first = str(error).partition("\n")[0]
            raise ConfigError(f"{where}: value={form!r} cannot be stored: {first}") from error

    def dumps(self, value: V) -> bytes:
        """The bytes of a value. Raises EncodeError if it is not of the table's type, or would come
        back as another value."""
        try:
            if self._write_plain is not None and type(value) is self._form:
                return self._write_plain(value)
            data = self._encode(value)
            back: object = self.loads(data)
        except Exception as error:
            raise EncodeError(
                f"{self._where}: {exactly(value)} cannot be stored: {_reason(error)}"
            ) from error
        if back != value:
            raise EncodeError(
                f"{self._where}: {exactly(value)} cannot be stored: it comes back as "
                f"{exactly(back)}"
            )
        return data

    def _encode(self, value: V) -> bytes:
        if self._is_struct:
            import msgspec  # Only a user of Structs has it.

            return msgspec.json.encode(value)
        checked = self._adapter.validate_python(value)
        return self._adapter.dump_json(checked, by_alias=True, warnings="error")

    def mutable(self, value: V) -> bool:
        """Can the value be changed in place?"""
        return type(value) not in _IMMUTABLE

    def changed(self, value: V, since: bytes) -> bytes | None:
        """The bytes of the value, if it is another one than `since` stands for. Raises EncodeError.

        The same value may have other bytes, if another language has written them.
        """
        data = self.dumps(value)
        return None if data == since or data == self.dumps(self.loads(since)) else data

    def loads(self, data: bytes) -> V:
        """The value. Raises DecodeError."""
        try:
            if self._is_struct:
                import msgspec

                value: V = msgspec.json.decode(data, type=self._form)
                return value
            return self._read(data)
        except Exception as error:
            raise DecodeError(
                f"{self._where}: a stored value cannot be read: {_reason(error)}"
            ) from error


def _adapter(form: Any) -> TypeAdapter[Any]:
    try:
        # JSON has no bytes: without this, only those that are UTF-8 could be stored.
        config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
        return TypeAdapter(form, config=config)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(form)  # A model, dataclass or TypedDict has its own.


def _reason(error: Exception) -> str:
    """On one line; pydantic's own text has several, with links."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())
    found = error.errors(include_url=False, include_context=False, include_input=False)
    places = [".".join(str(part) for part in each["loc"]) for each in found]
    return "; ".join(
        f"{place}: {each['msg']}" if place else each["msg"]
        for place, each in zip(places, found, strict=True)
    )
