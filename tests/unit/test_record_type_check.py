"""What comes back is compared field by field, whatever functions the class of a record has."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any

import pytest
from pydantic import (
    Field,
    PrivateAttr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer, Serializer
from runnel.errors import EncodeError
from runnel.record import Record, adapt


def sent(record: Any, serializer: Serializer | None = None, **options: Any) -> Any:
    """The record that a reader gets."""
    codec = EntryCodec(adapt(type(record)), serializer or MsgpackSerializer(), **options)
    return EntryCodec(adapt(type(record)), MsgpackSerializer()).decode(codec.encode(record))


class Item(Record):
    sku: str
    amount: int = Field(default=1, gt=0)


class Order(Record):
    item: Item
    at: datetime | None = None
    price: float = 1.0
    _note: str = PrivateAttr("")


def order(**changes: Any) -> Order:
    return Order(**{"item": Item(sku="a"), **changes})


class Doubling(Record):
    value: int

    @field_validator("value")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Rounding(Record):
    value: float

    @field_serializer("value")
    def round(self, value: float) -> float:
        return round(value, 1)


class Entity(Record):
    """Equal to every other of its id."""

    id: int
    value: float

    @field_serializer("value")
    def round(self, value: float) -> float:
        return round(value, 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entity) and other.id == self.id

    __hash__ = None  # type: ignore[assignment]


class Twin(Record):
    """Equal to every other of its id, and nothing of the user's takes part in its way."""

    id: int
    value: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Twin) and other.id == self.id

    __hash__ = None  # type: ignore[assignment]


class Owner(Record):
    entities: list[Entity] = []


class Parent(Record):
    twins: list[Twin] = []


class Shy(Record):
    value: int = Field(default=0, exclude=True)


class Lonely(Record):
    value: int

    @model_serializer
    def lonely(self) -> Any:
        return self.value


class TestFunctionsOfTheUsers:
    @pytest.mark.parametrize(
        ("record", "says"),
        [
            (Doubling(value=3), "Doubling.value: 6 would come back as 12"),
            (Rounding(value=1.25), "Rounding.value: 1.25 would come back as 1.2"),
            (Entity(id=1, value=1.25), "Entity.value: 1.25 would come back as 1.2"),
            (
                Owner(entities=[Entity(id=1, value=1.25)]),
                r"Owner\.entities\[0\]\.value: 1\.25 would come back as 1\.2",
            ),
            (Parent(twins=[Twin(id=1, value=(1,))]), r"Parent\.twins\[0\]\.value: \(1,\) would"),
            (Shy(value=1), "Shy.value: 1 would come back as 0"),
            (Lonely(value=1), "Lonely: its serializer makes a int, not a map of fields"),
        ],
    )
    def test_a_value_that_they_change_is_refused(self, record: Any, says: str) -> None:
        with pytest.raises(EncodeError, match=says):
            sent(record)

    @pytest.mark.parametrize("record", [Doubling(value=0), Rounding(value=1.5), Shy()])
    def test_a_value_that_they_leave_alone_is_let_through(self, record: Any) -> None:
        assert sent(record) == record

    def test_whatever_a_comparison_raises_is_an_encode_error(self) -> None:
        class Prickly:
            def __eq__(self, other: object) -> bool:
                raise RuntimeError("do not touch")

            __hash__ = None  # type: ignore[assignment]

        class Holder(Record, arbitrary_types_allowed=True):
            value: Prickly

            @field_validator("value", mode="plain")
            @classmethod
            def read(cls, value: Any) -> Prickly:
                return Prickly()

            @field_serializer("value")
            def write(self, value: Prickly) -> str:
                return "x"

        with pytest.raises(EncodeError, match=r"Holder\.value: .*cannot be compared.*do not touch"):
            sent(Holder(value=Prickly()))

    def test_a_number_that_cannot_be_compared_is_named_with_its_path(self) -> None:
        class Bill(Record):
            prices: dict[str, list[Annotated[Decimal, Field(allow_inf_nan=True)]]]

        with pytest.raises(EncodeError, match=r"Bill\.prices\.net\[1\]: it cannot be compared"):
            sent(Bill(prices={"net": [Decimal(1), Decimal("sNaN")]}))

    def test_a_class_in_place_of_a_value_is_named_and_not_what_is_in_it(self) -> None:
        class Loose(Record):
            value: Any

        with pytest.raises(EncodeError, match=r"Loose\.value: "):
            sent(Loose(value=Item))


def test_private_attributes_do_not_travel_and_do_not_matter() -> None:
    record = order()
    record._note = "mine"
    assert sent(record)._note == ""


def test_computed_and_cached_values_do_not_matter() -> None:
    class Square(Record, extra="forbid"):
        side: int

        @computed_field  # type: ignore[prop-decorator]
        @property
        def area(self) -> int:
            return self.side**2

        @cached_property
        def root(self) -> float:
            return math.sqrt(self.side)

    record = Square(side=4)
    assert record.root == 2
    assert sent(record) == record


@pytest.mark.parametrize("slots", [True, False])
def test_a_dataclass_without_equality_is_compared_by_its_fields(slots: bool) -> None:
    kind = dataclasses.make_dataclass("Bare", [("a", int)], eq=False, slots=slots)
    assert sent(kind(1)).a == 1


def test_a_value_made_behind_init_comes_back_if_it_is_made_again() -> None:
    @dataclasses.dataclass
    class Line:
        amount: int
        total: int = dataclasses.field(init=False, default=0)

        def __post_init__(self) -> None:
            self.total = self.amount * 2

    line = Line(2)
    assert sent(line) == line
    line.total = 5
    with pytest.raises(EncodeError, match=r"Line\.total: 5 would come back as 4"):
        sent(line)
