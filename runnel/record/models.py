"""Pydantic models, and dataclasses through pydantic."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter

from runnel.errors import DecodeError
from runnel.record.certain import certainty
from runnel.record.checks import check_record
from runnel.record.face import RecordType
from runnel.record.native import native_form
from runnel.record.plain import plain
from runnel.record.problems import explain
from runnel.record.schema import Node, json_is_plain, place_of_bytes

R = TypeVar("R")


class PydanticType(RecordType[R]):
    """The face of a class that pydantic knows. Raises ConfigError if a value may not come back."""

    def __init__(self, cls: type[R]) -> None:
        super().__init__(cls)
        adapter = TypeAdapter(cls)
        schema: Node = adapter.core_schema
        if issubclass(cls, BaseModel) and getattr(cls, "__primitive__", False):
            self.primitive = True
            self.native = native_form(cls)
        check_record(schema, self.name, self._travel)
        self.place_of_bytes = place_of_bytes(schema, self.name)
        self._to_python = adapter.serializer.to_python
        self._validate = adapter.validator.validate_python
        self._validate_json = adapter.validator.validate_json
        self._json_is_plain = json_is_plain(schema)
        self.surely_comes_back = certainty(schema)
        # Fields that a class does not declare stand elsewhere.
        self._all_in_dict = getattr(cls, "model_config", {}).get("extra") != "allow"

    def load(self, values: Mapping[str, Any]) -> R:
        try:
            # Never strict: a strict datetime would refuse the text that it travels as.
            record: R = self._validate(values, strict=False)
        except Exception as error:  # Whatever the class's own validators raise.
            raise DecodeError(explain(self.name, error)) from error
        return record

    def check(self, sent: R, back: R) -> None:
        try:
            if self._all_in_dict and sent.__dict__ == back.__dict__:
                return
        except Exception:  # A class with slots, or a value that cannot be compared: told below.
            pass
        super().check(sent, back)

    def _travel(self, place: str, value: Any) -> Any:
        """What becomes of a plain value on its way, for the checks."""
        if not self.primitive:
            return value
        name = place.rpartition(".")[2]
        info = self.cls.model_fields[name]  # type: ignore[attr-defined]
        return self.native.there_and_back(info.serialization_alias or name, value)

    def _dump(self, record: R) -> dict[str, Any]:
        # Aliases are what is read; computed fields are left out, as they would be refused.
        if self._json_is_plain:
            dumped = self._to_python(
                record, mode="json", by_alias=True, round_trip=True, warnings=False
            )
        else:
            dumped = plain(self._to_python(record, by_alias=True, round_trip=True, warnings=False))
        if type(dumped) is not dict:
            raise TypeError(f"its serializer makes a {type(dumped).__name__}, not a map of fields")
        return dumped

    def _from_json(self, text: str | bytes) -> R:
        record: R = self._validate_json(text)
        return record

    def _fields(self) -> set[str]:
        if issubclass(self.cls, BaseModel):
            return set(self.cls.model_fields)
        return {field.name for field in dataclasses.fields(self.cls)}  # type: ignore[arg-type]
