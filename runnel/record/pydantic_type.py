"""The `RecordType` of pydantic models and dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from runnel.errors import ConfigError, DecodeError, EncodeError, RecordError
from runnel.record.checks import check_record
from runnel.record.culprit import culprit, raises
from runnel.record.difference import unset_difference
from runnel.record.messages import UNDECLARED, explain, path, path_of
from runnel.record.plain import plain
from runnel.record.primitive import primitive_form
from runnel.record.record_type import RecordType
from runnel.record.round_trip import exact_dumper
from runnel.record.schema import (
    Node,
    bytes_field,
    equality_tells,
    json_is_plain,
    keeps_unknown,
    spots,
)
from runnel.record.unknown import is_kept, without_unknown

R = TypeVar("R")


class PydanticType(RecordType[R]):
    """Records of pydantic models and dataclasses. Raises ConfigError for a field that can never be
    read back."""

    def __init__(self, form: Any, classes: Sequence[type[Any]], exclude_unset: bool) -> None:
        super().__init__(form, classes)
        adapter: TypeAdapter[R] = TypeAdapter(form)
        schema: Node = adapter.core_schema
        self.is_map = not any(issubclass(each, RootModel) for each in classes)
        self._settle_form(classes, exclude_unset)
        found = spots(schema, self.name)
        check_record(schema, found)
        self.bytes_field = bytes_field(found)
        self._to_python = adapter.serializer.to_python
        self._validate = adapter.validator.validate_python
        self._validate_json = adapter.validator.validate_json
        self._json_is_plain = json_is_plain(found)
        self._keeps_unknown = keeps_unknown(found)
        self._equality_tells = equality_tells(found) and not exclude_unset
        self._exclude_unset = exclude_unset
        # Fields are read by their aliases. Computed fields are left out: reading would refuse them.
        self._options: dict[str, Any] = {
            "mode": "json" if self._json_is_plain else "python",
            "by_alias": True,
            "round_trip": True,
            "warnings": False,
            "exclude_unset": exclude_unset,
        }
        self.dump_exact = None if exclude_unset else exact_dumper(schema)
        # Fields that a class does not declare are not in `__dict__`.
        self._all_in_dict = all(
            getattr(each, "model_config", {}).get("extra") != "allow" for each in classes
        )

    def load(self, values: Any) -> R:
        try:
            return self._read(values)
        except Exception as error:  # From the validators of the class.
            problem = explain(self.name, error, values)
            if self._exclude_unset and _lacks_tag(error):
                problem += (
                    "; with exclude_unset=True set its discriminator too, or it is not stored"
                )
            raise DecodeError(problem) from error

    def _read(self, values: Any) -> R:
        # Never strict: a strict datetime refuses its stored form, which is text. Undeclared fields
        # are left out: a newer class may have written them.
        if not self._keeps_unknown:
            record: R = self._validate(values, strict=False, extra="ignore")
            return record
        try:
            record = self._validate(values, strict=False)
        except ValidationError as error:
            record = self._validate(without_unknown(values, error), strict=False)
        return record

    def check(self, sent: R, back: R) -> None:
        try:
            same = type(sent) is type(back) and self._all_in_dict and self._equality_tells
            if same and sent.__dict__ == back.__dict__:
                return
        except Exception:  # A class with slots, or a value that cannot be compared: see below.
            pass
        super().check(sent, back)
        if self._exclude_unset and (problem := unset_difference(sent, back, self.name)):
            raise EncodeError(f"{self.name} cannot be written: {problem}")

    def _dump(self, record: R) -> dict[str, Any]:
        dumped = self._to_python(record, **self._options)
        if not self._json_is_plain:
            dumped = plain(dumped)
        if type(dumped) is not dict and self.is_map:
            raise TypeError(f"its serializer makes a {type(dumped).__name__}, not a map of fields")
        values: dict[str, Any] = dumped
        return values

    def _faulty_field(self, record: R) -> str:
        def fails(steps: list[Any], inner: dict[Any, Any]) -> bool:
            include: Any = dict.fromkeys(inner, True)
            for key in reversed(steps):
                include = {key: include}
            return raises(lambda: plain(self._to_python(record, **self._options, include=include)))

        return path(self.name, culprit(record, fails))

    def _from_json(self, text: str | bytes, ignore_unknown: bool) -> R:
        try:
            if not self._keeps_unknown:
                record: R = self._validate_json(
                    text, extra="ignore" if ignore_unknown else "forbid"
                )
                return record
            return self._from_json_with_unknown(text, ignore_unknown)
        except ValidationError as error:
            unreadable = any(each["type"] == "json_invalid" for each in error.errors())
            values = None if unreadable else from_json(text)
            raise RecordError(explain(self.name, error, values)) from error

    def _from_json_with_unknown(self, text: str | bytes, ignore_unknown: bool) -> R:
        """For unions of which some classes keep undeclared fields: find those that the others would
        lose."""
        try:
            record: R = self._validate_json(text)
        except ValidationError as error:
            if not ignore_unknown:
                raise
            record = self._validate_json(to_json(without_unknown(from_json(text), error)))
            return record
        if ignore_unknown:
            return record
        try:
            self._validate_json(text, extra="forbid")
        except ValidationError as error:
            values = from_json(text)
            unknown = [each["loc"] for each in error.errors() if each["type"] in UNDECLARED]
            lost = [path_of(self.name, loc, values) for loc in unknown if not is_kept(record, loc)]
            if lost:
                problems = "; ".join(f"{each}: no such field" for each in lost)
                raise RecordError(problems) from error
        return record

    def _fields(self, cls: type[Any]) -> set[str]:
        if issubclass(cls, BaseModel):
            return set(cls.model_fields)
        return {field.name for field in dataclasses.fields(cls)}

    def _settle_form(self, classes: Sequence[type[Any]], exclude_unset: bool) -> None:
        """Use the form of primitive records for such a record. Raises ConfigError for options that
        exclude each other."""
        primitive = [each for each in classes if getattr(each, "__primitive__", False)]
        if primitive and len(classes) > 1:
            raise ConfigError(
                f"{self.name}: an entry of a primitive record does not say its class: drop "
                "primitive=True to have several in one stream"
            )
        if exclude_unset and primitive:
            raise ConfigError(
                f"{self.name}: a primitive record leaves out fields that are None, so they could "
                "not be distinguished from unset ones: drop primitive=True or exclude_unset=True"
            )
        if exclude_unset and not all(issubclass(each, BaseModel) for each in classes):
            raise ConfigError(
                f"{self.name}: exclude_unset=True needs pydantic models, which know what was set"
            )
        if primitive:
            self.primitive = True
            self.primitive_form = primitive_form(primitive[0])


def _lacks_tag(error: Exception) -> bool:
    """Is the discriminator missing, so that the class of the union is unknown?"""
    return isinstance(error, ValidationError) and any(
        each["type"] == "union_tag_not_found" for each in error.errors()
    )
