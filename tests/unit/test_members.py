"""The classes of a declared record, and what is refused as none."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from runnel.errors import ConfigError
from runnel.record import Record, adapt
from runnel.record.members import members


class Item(Record):
    sku: str
    amount: int = 1


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
