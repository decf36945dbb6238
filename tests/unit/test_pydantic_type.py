"""Models and dataclasses become plain values by their aliases, and are read back from them."""

from __future__ import annotations

import dataclasses
import warnings
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, RootModel, computed_field, field_validator

from runnel.errors import DecodeError, EncodeError
from runnel.record import Record, adapt
from tests.unit.orders import NOW, Item, Model, Order, Size, order


class Renamed(Record):
    order_id: int = Field(alias="orderId")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.order_id * 2


def test_a_record_becomes_plain_values() -> None:
    dumped = adapt(Order).dump(order(items=[Item(sku="b")], by_size={7: Item(sku="c")}))
    assert dumped == {
        "order_id": 1,
        "at": "2024-01-02T03:04:05.000600Z",
        "price": "1.10",
        "key": "00000000-0000-0000-0000-000000000001",
        "size": 2,
        "raw": b"\xff",
        "item": {"sku": "a", "amount": 1},
        "items": [{"sku": "b", "amount": 1}],
        "by_size": {"7": {"sku": "c", "amount": 1}},
        "note": None,
    }


@given(
    st.builds(
        Order,
        at=st.datetimes() | st.datetimes(timezones=st.just(timezone(timedelta(hours=2)))),
        price=st.decimals(allow_nan=False, allow_infinity=False),
        size=st.sampled_from(Size),
        items=st.lists(st.builds(Item), max_size=3),
    )
)
def test_a_record_comes_back_as_it_was(record: Order) -> None:
    record_type = adapt(Order)
    back = record_type.load(record_type.dump(record))
    assert back == record
    assert back.at.utcoffset() == record.at.utcoffset()
    assert str(back.price) == str(record.price)


def test_aliases_come_back_and_computed_fields_stay_away() -> None:
    record_type = adapt(Renamed)
    record = Renamed(orderId=4)
    assert record_type.dump(record) == {"orderId": 4}
    assert record_type.load({"orderId": 4}) == record


def test_a_strict_class_reads_what_it_wrote() -> None:
    class Strict(Record, strict=True):
        at: datetime

    record = Strict(at=NOW)
    assert adapt(Strict).load(adapt(Strict).dump(record)) == record


def test_an_optional_field_can_be_added_and_old_and_new_read_each_other() -> None:
    class Old(Record):
        a: int

    class New(Record):
        a: int
        b: str | None = None

    assert adapt(New).load(adapt(Old).dump(Old(a=1))) == New(a=1)
    assert adapt(Old).load(adapt(New).dump(New(a=1, b="x"))) == Old(a=1)


def test_whatever_a_validator_raises_is_a_decode_error() -> None:
    class Fragile(Record):
        a: int

        @field_validator("a")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError("no such thing")

    with pytest.raises(DecodeError, match="Fragile: 'no such thing'"):
        adapt(Fragile).load({"a": 1})


def test_only_a_root_model_is_no_map_of_fields() -> None:
    words: Any = RootModel[list[str]]
    assert not adapt(words).is_map
    dumped: Any = adapt(words).dump(words(["a"]))
    assert dumped == ["a"]
    assert adapt(Model).is_map


def test_no_record_is_known_to_round_trip_where_unset_fields_are_left_out() -> None:
    class Small(Record):
        number: int = 1

    written = adapt(Small).dump_exact
    assert written is not None
    assert written(Small()) == {"number": 1}
    assert adapt(Small, exclude_unset=True).dump_exact is None


def test_a_value_that_cannot_be_compared_is_named() -> None:
    class Bill(Record):
        price: Annotated[Decimal, Field(allow_inf_nan=True)]

    with pytest.raises(EncodeError, match=r"Bill\.price: it cannot be compared with what comes"):
        adapt(Bill).check(Bill(price=Decimal("sNaN")), Bill(price=Decimal("sNaN")))


def test_a_record_with_slots_is_compared_by_its_fields() -> None:
    kind = dataclasses.make_dataclass("Slotted", [("a", Any)], slots=True)
    adapt(kind).check(kind(1), kind(1))
    with pytest.raises(EncodeError, match=r"Slotted\.a: \(1,\) would come back as \[1\]"):
        adapt(kind).check(kind((1,)), kind([1]))


def test_a_value_of_another_type_is_written_without_a_warning() -> None:
    record = Item.model_construct(sku=5, amount="many")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert adapt(Item).dump(record) == {"sku": 5, "amount": "many"}


def test_a_field_that_is_kept_must_come_back_too() -> None:
    class Open(Record, extra="allow"):
        a: int = 1

    with pytest.raises(EncodeError, match=r"Open\.b: 2 would come back as nothing"):
        adapt(Open).check(Open(b=2), Open())  # type: ignore[call-arg]
