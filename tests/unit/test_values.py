"""Values of tables become JSON and come back as they were, or are refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from math import inf, nan
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest
from pydantic import AfterValidator, BaseModel, Field, PlainSerializer
from typing_extensions import TypedDict

from runnel import Record
from runnel.codec.values import ValueCodec
from runnel.errors import ConfigError, DecodeError, EncodeError


class Model(BaseModel):
    name: str
    total: int = Field(default=0, alias="sum")


class Account(Record):
    owner: str
    limit: Decimal


class Point(msgspec.Struct):
    x: int
    y: float
    raw: bytes = b""


class Frozen(msgspec.Struct, frozen=True):
    x: int


@dataclass
class Span:
    start: int
    tags: list[str]


class Row(TypedDict):
    name: str


class Color(Enum):
    RED = "red"


class Plain:
    """No type that can be stored."""


def _name(value: object) -> str | None:
    """How a test names a value; None, for a number, where an address is in its text."""
    text = repr(value)
    return None if " at 0x" in text else text


CASES: list[tuple[Any, Any]] = [
    (int, 0),
    (int, -(10**40)),
    (str, ""),
    (str, "snow ☃ \0 \U0001f600"),
    (bool, True),
    (float, 0.1),
    (float, 5),
    (float, -0.0),
    (bytes, b"\x00\xff"),
    (bytes, b"text"),
    (list[bytes], [b"\xff", b""]),
    (Decimal, Decimal("1.10")),
    (datetime, datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    (UUID, UUID(int=7)),
    (Color, Color.RED),
    (int | None, None),
    (int | None, 3),
    (int | str, "3"),
    (int | str, 3),
    (list[int], []),
    (dict[str, list[int]], {"a": [1], "": []}),
    (dict[int, str], {1: "a"}),
    (tuple[int, str], (1, "a")),
    (set[int], {3, 1}),
    (Model, Model(name="n", sum=3)),
    (list[Model], [Model(name="n", sum=3)]),
    (Account, Account(owner="o", limit=Decimal("0.30"))),
    (dict[str, Account], {"a": Account(owner="o", limit=Decimal(1))}),
    (Account | None, None),
    (Point, Point(1, 2.5, b"\xff")),
    (Frozen, Frozen(1)),
    (Span, Span(1, ["a"])),
    (list[Span], [Span(1, []), Span(2, ["b"])]),
    (Row, Row(name="n")),
    (Any, {"a": [1, None, "b"]}),
]


@pytest.mark.parametrize(("form", "value"), CASES, ids=lambda each: repr(each)[:40])
def test_a_value_comes_back_as_it_was_and_is_json(form: Any, value: Any) -> None:
    codec: ValueCodec[Any] = ValueCodec("table t", form)
    data = codec.dumps(value)
    json.loads(data)
    assert codec.loads(data) == value
    assert codec.changed(value, data) is None


def test_what_other_languages_read() -> None:
    assert ValueCodec[Any]("t", int).dumps(5) == b"5"
    assert ValueCodec[Any]("t", Model).dumps(Model(name="n", sum=3)) == b'{"name":"n","sum":3}'
    assert ValueCodec[Any]("t", bytes).dumps(b"\xff\x00") == b'"_wA="'


@pytest.mark.parametrize(
    ("form", "value", "reason"),
    [
        (int, "5", "it comes back as 5"),
        (int, "x", "valid integer"),
        (int, None, "valid integer"),
        (int, 1.5, "valid integer"),
        pytest.param(int, 10**4300, "4300 digits", id="a number that Python would not read"),
        (str, 5, "valid string"),
        (str, "\ud800", "."),
        (float, nan, "."),
        (float, inf, "."),
        (list[int], ["x"], "0: Input should be a valid integer"),
        (list[int], ["5"], r"it comes back as \[5\]"),
        (list[int], (1,), r"it comes back as \[1\]"),
        (list[float], [nan], "."),
        (dict[str, int], {"a": "x"}, "valid integer"),
        (Any, (1, 2), r"it comes back as \[1, 2\]"),
        (Any, {1: 2}, "it comes back as {'1': 2}"),
        (Any, Plain(), "."),
        (Model, {"name": "n"}, "it comes back as Model"),
        (Model, Frozen(1), "."),
        (Point, Frozen(1), "required field"),
        (Point, {"x": 1, "y": 2.0}, "it comes back as Point"),
        (Point, Point(1, nan), "."),
        (Point, Point("1", 2.0), "Expected `int`"),  # type: ignore[arg-type]
        (Span, Span(1, [2]), "."),  # type: ignore[list-item]
        (Annotated[str, AfterValidator(str.upper)], "a", "it comes back as 'A'"),
        (Annotated[int, PlainSerializer(lambda each: each + 1)], 1, "it comes back as 2"),
        (Annotated[int, Field(gt=0)], 0, "greater than 0"),
    ],
    ids=_name,
)
def test_a_value_that_would_come_back_as_another_is_refused(
    form: Any, value: Any, reason: str
) -> None:
    codec: ValueCodec[Any] = ValueCodec("table t", form)
    with pytest.raises(EncodeError, match=reason) as caught:
        codec.dumps(value)
    assert str(caught.value).startswith("table t: ")
    assert "cannot be stored: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [Plain, list[Plain], "NoSuchType", 5, list[Point]], ids=repr)
def test_a_type_that_cannot_be_stored_is_refused_where_it_is_declared(form: Any) -> None:
    with pytest.raises(ConfigError, match=r"^table t: value=.* cannot be stored: \S"):
        ValueCodec("table t", form)


@pytest.mark.parametrize(
    ("form", "data"),
    [(int, b"x"), (int, b'"a"'), (int, b""), (Point, b'{"x":1}'), (Model, b"{}"), (bytes, b'"%"')],
    ids=repr,
)
def test_bytes_that_stand_for_no_value_are_refused(form: Any, data: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^table t: a stored value cannot be read: \S"):
        ValueCodec("table t", form).loads(data)


def test_a_change_in_place_is_noticed() -> None:
    codec: ValueCodec[list[int]] = ValueCodec("table t", list[int])
    value = codec.loads(b"[1]")
    assert codec.changed(value, b" [1 ] ") is None, "another language may write other bytes"
    value.append(2)
    assert codec.changed(value, b"[1]") == b"[1,2]"
    value.append("x")  # type: ignore[arg-type]
    with pytest.raises(EncodeError, match="valid integer"):
        codec.changed(value, b"[1]")


def test_only_a_value_that_can_change_is_compared() -> None:
    codec: ValueCodec[Any] = ValueCodec("table t", Any)
    assert not any(codec.mutable(each) for each in (1, "a", True, 0.5, b"", None))
    changeable: list[Any] = [[], {}, Point(1, 2), Span(1, []), ([],)]
    assert all(codec.mutable(each) for each in changeable)
