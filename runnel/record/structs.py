"""msgspec Structs. Imported only where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import structs
from pydantic_core import from_json

from runnel.errors import ConfigError, DecodeError, RecordError
from runnel.record.face import RecordType
from runnel.record.problems import one_line, struct_problem

R = TypeVar("R")

# Bytes travel as they are, and keys of maps as text. In JSON bytes are base64, as msgspec has it.
_to_plain = partial(msgspec.to_builtins, builtin_types=(bytes,), str_keys=True)
_from_plain = partial(msgspec.convert, builtin_types=(bytes,), str_keys=True)
_from_parsed_json = partial(msgspec.convert, str_keys=True)


class StructType(RecordType[R]):
    """The face of a Struct. Raises ConfigError if it, or one of its fields, cannot be stored."""

    dumps_lists = False

    def __init__(self, cls: type[R]) -> None:
        super().__init__(cls)
        struct: Any = cls
        if struct.__struct_config__.array_like:
            raise ConfigError(
                f"{self.name} is a Struct with array_like, which has no field names: remove it"
            )
        try:
            msgspec.json.Decoder(struct)
        except TypeError as error:
            raise ConfigError(
                f"{self.name} has a field that cannot be stored: {one_line(error)}"
            ) from error
        self._has_own_equality = struct.__eq__ is not msgspec.Struct.__eq__
        bytes_fields = (f.encode_name for f in structs.fields(struct) if f.type is bytes)
        self.place_of_bytes = next((f"{self.name}.{name}" for name in bytes_fields), None)

    def load(self, values: Mapping[str, Any]) -> R:
        try:
            record: R = _from_plain(values, type=self.cls)
        except Exception as error:  # A ValidationError, or what a __post_init__ raises.
            raise DecodeError(self._explain(error, values)) from error
        return record

    def _dump(self, record: R) -> dict[str, Any]:
        dumped: dict[str, Any] = _to_plain(record)
        return dumped

    def check(self, sent: R, back: R) -> None:
        if self._has_own_equality or sent != back:
            super().check(sent, back)

    def _from_json(self, text: str | bytes) -> R:
        try:
            values = from_json(text, allow_inf_nan=False)
        except ValueError as error:
            raise RecordError(f"{self.name}: Invalid JSON: {one_line(error)}") from error
        try:
            record: R = _from_parsed_json(values, type=self.cls)
        except ValueError as error:
            raise RecordError(self._problems(error, values, _from_parsed_json)) from error
        return record

    def _fields(self) -> set[str]:
        return set(self.cls.__struct_fields__)  # type: ignore[attr-defined]

    def _explain(self, error: Exception, values: Any = None) -> str:
        return self._problems(error, values, _from_plain)

    def _problems(self, error: Exception, values: Any, convert: Callable[..., Any]) -> str:
        """msgspec stops at the first bad field, so each is tried by itself to name them all."""
        problems = []
        struct: Any = self.cls
        for field in structs.fields(struct) if isinstance(values, Mapping) else ():
            place = f"{self.name}.{field.encode_name}"
            if field.encode_name not in values:
                problems += [f"{place}: missing"] if field.required else []
                continue
            try:
                convert(values[field.encode_name], type=field.type)
            except ValueError as wrong:
                problems.append(struct_problem(place, str(wrong), values[field.encode_name]))
        return "; ".join(problems) or struct_problem(self.name, str(error))
