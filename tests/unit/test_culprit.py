"""The part of a record that cannot be written is found and named by its path."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest
from pydantic import field_validator

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.errors import EncodeError
from runnel.record import Record, adapt


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    order_id: int = 0
    inner: list[Struct] = []
    by: dict[str, Struct] = {}
    data: dict[str, int] = {}


class Row(Record):
    items: list[Any] = []
    by: dict[str, Any] = {}
    inner: Row | None = None
    picky: float = 0.0

    @field_validator("picky", mode="plain")
    @classmethod
    def anything(cls, value: Any) -> Any:
        return value


@dataclasses.dataclass
class DataRow:
    items: list[Any]


class Needy(msgspec.Struct):
    a: int


class StructRow(msgspec.Struct):
    items: list[Any] = []
    by: dict[str, int] = {}
    rows: list[dict[str, int]] = []
    deep: dict[str, list[dict[str, Struct]]] = {}
    numbered: dict[int, int] = {}
    needs: list[Needy] = []


@pytest.mark.parametrize(
    ("record", "path"),
    [
        (Row(items=[1, 2, {"price": object()}]), "Row.items[2].price"),
        (Row(items=[1, 2, {"a b": [2**70]}]), "Row.items[2]['a b'][0]"),
        (Row(by={"x": {"y": "\ud800"}}), "Row.by.x.y"),
        (Row(inner=Row(inner=Row(items=[object()]))), "Row.inner.inner.items[0]"),
        (Row(inner=Row(items=[(1,)])), "Row.inner.items[0]"),
        (Row(items=[0] * 5000 + [2**70] + [0] * 5000), "Row.items[5000]"),
        (DataRow([1, {"a": object()}]), "DataRow.items[1].a"),
        (StructRow([1, {"a": object()}]), "StructRow.items[1].a"),
        (StructRow([[2**70]]), "StructRow.items[0][0]"),
        (StructRow(by={"a": "x"}), "StructRow.by.a"),  # type: ignore[dict-item]
    ],
)
def test_what_cannot_be_sent_is_named_with_its_path(record: Any, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        EntryCodec(adapt(type(record)), MsgpackSerializer()).encode(record)
    assert f"{path}: " in str(caught.value)


def test_a_value_that_is_inside_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    for record in (Row(items=endless), StructRow(endless)):
        with pytest.raises(EncodeError, match=r"Row\.items\[0\]"):
            EntryCodec(adapt(type(record)), MsgpackSerializer()).encode(record)
