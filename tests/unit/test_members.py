"""The classes of a declared record, and what is refused as none."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pytest
from typing_extensions import TypeAliasType

from runnel.errors import ConfigError
from runnel.record import Record, adapt
from runnel.record.members import field_of_type, field_without_form, members
from tests.unit.orders import Data, Item, Model


class Struct(msgspec.Struct):
    order_id: int
    at: datetime
    price: Decimal
    raw: bytes


@dataclasses.dataclass
class Strange:
    value: Struct


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (dict, "derive it from runnel.Record"),
        (int, "derive it from runnel.Record"),
        ("Order", "derive it from runnel.Record"),
        (Item(sku="a"), "derive it from runnel.Record"),
        (list[int], "derive it from runnel.Record"),
        (Strange, r"^Strange\.value cannot be stored: Unable .* for <class .*Struct'>\.$"),
    ],
)
def test_what_is_no_record_class_is_refused_with_the_fix(cls: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        adapt(cls)


def test_a_class_with_an_undefined_type_is_refused() -> None:
    class Half(Record):
        other: Missing  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        ConfigError, match=r"^Half\.other uses a type that is not defined: .*'Missing'"
    ):
        adapt(Half)


def test_a_dataclass_with_an_undefined_type_is_refused() -> None:
    @dataclasses.dataclass
    class Half:
        key: int
        other: Missing  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        ConfigError, match=r"^Half\.other uses a type that is not defined: .*'Missing'"
    ):
        adapt(Half)


@pytest.mark.parametrize("cls", [int, dict, "Order"])
def test_what_is_no_record_class_has_no_members(cls: Any) -> None:
    with pytest.raises(ConfigError, match=r"runnel\.Record"):
        members(cls)


Named = TypeAliasType("Named", Annotated[Item | Data, "either"])


@pytest.mark.parametrize(
    ("form", "classes"),
    [
        (Item, [Item]),
        (Data, [Data]),
        (Annotated[Model, "note"], [Model]),
        (Item | Data, [Item, Data]),
        (Named, [Item, Data]),
        (Annotated[Named | Model, "note"], [Item, Data, Model]),
        (Annotated[Named, "a"] | Item, [Item, Data]),
    ],
)
def test_the_classes_of_a_declared_record_are_found_once_each(form: Any, classes: Any) -> None:
    assert members(form) == classes


@pytest.mark.parametrize("form", [Item | None, Item | int, Annotated[Item | int, "a"]])
def test_a_part_of_a_union_that_is_no_record_class_is_refused(form: Any) -> None:
    with pytest.raises(ConfigError, match=r"^<class '(NoneType|int)'> is not a record class"):
        members(form)


class Base:
    first: list[Lost]  # type: ignore[name-defined]  # noqa: F821


class Derived(Base):
    second: Losts  # type: ignore[name-defined]  # noqa: F821


def test_the_field_with_a_type_is_found_by_the_whole_name_of_the_type() -> None:
    assert field_of_type([Item, Derived], "Losts") == "Derived.second"
    assert field_of_type([Derived], "Lost") == "Derived.first"
    assert field_of_type([Derived], "Los") is None
    assert field_of_type([Derived], "") is None


def test_the_field_of_a_dataclass_that_pydantic_cannot_handle_is_found() -> None:
    assert field_without_form([Item, Data, Strange]) == "Strange.value"
    assert field_without_form([Item, Data]) is None
