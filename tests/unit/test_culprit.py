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
from runnel.record.culprit import culprit, raises


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


def bad_inside(*bad: Any) -> tuple[Any, list[dict[Any, Any]]]:
    """A test of parts that fails if one of them is, or has, a bad value; and what it was given."""
    asked: list[dict[Any, Any]] = []

    def fails(_: list[Any], inner: dict[Any, Any]) -> bool:
        asked.append(inner)
        return any(each in repr(list(inner.values())) for each in bad)

    return fails, asked


@pytest.mark.parametrize(
    ("value", "steps"),
    [
        ([1, "bad", 2], [1]),
        ({"a": [{"b": 1}, {"c": ["bad"]}]}, ["a", 1, "c", 0]),
        ({"a": "bad", "b": "bad"}, ["a"]),
        ([1, 2], []),
        ([], []),
        ("bad", []),
    ],
)
def test_the_keys_lead_to_the_first_part_that_fails(value: Any, steps: list[Any]) -> None:
    fails, _ = bad_inside("bad")
    assert culprit(value, fails) == steps


def test_parts_that_fail_only_together_are_not_told_apart() -> None:
    def too_many(_: list[Any], inner: dict[Any, Any]) -> bool:
        return len(inner) > 1

    assert culprit({"a": [1, 2], "b": [3, 4]}, too_many) == []


def test_a_part_among_many_is_found_by_halves() -> None:
    fails, asked = bad_inside("bad")
    assert culprit([*range(900), "bad", *range(100)], fails) == [900]
    assert len(asked) < 15


def test_the_part_is_tried_under_the_keys_that_lead_to_it() -> None:
    seen: list[list[Any]] = []

    def fails(steps: list[Any], inner: dict[Any, Any]) -> bool:
        seen.append(list(steps))
        return True

    assert culprit({"a": {"b": 1}}, fails) == ["a", "b"]
    assert [each for at, each in enumerate(seen) if each not in seen[:at]] == [[], ["a"]]


def test_a_value_inside_itself_ends_the_search() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert culprit(endless, lambda *_: True) == [0] * 50


def test_only_work_that_raises_raises() -> None:
    assert raises(lambda: [][0])
    assert not raises(lambda: None)
