"""Record classes of every kind have one interface, and a Record is checked when it is made."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from pydantic import ValidationError

from runnel.errors import ConfigError
from runnel.record import Record, adapt
from tests.unit.orders import NOW, Item, kinds, order


@kinds
def test_every_kind_of_class_has_the_same_plain_values(kind: type[Any]) -> None:
    record_type = adapt(kind)
    record = kind(order_id=1, at=NOW, price=Decimal("1.10"), raw=b"\xff")
    dumped = record_type.dump(record)
    assert dumped == {
        "order_id": 1,
        "at": "2024-01-02T03:04:05.000600Z",
        "price": "1.10",
        "raw": b"\xff",
    }
    assert record_type.load(dumped) == record
    assert record_type.without_field("order_id") == []
    assert record_type.without_field("other") == [kind]
    assert (record_type.classes, record_type.name, record_type.primitive) == (
        (kind,),
        kind.__name__,
        False,
    )


@pytest.mark.parametrize(
    ("field", "value"), [("order_id", "x"), ("items", [{"sku": "a", "amount": "many"}])]
)
def test_a_wrong_value_is_refused_with_its_field_when_the_record_is_made(
    field: str, value: Any
) -> None:
    with pytest.raises(ValidationError, match=field):
        order(**{field: value})


def test_a_copy_takes_no_field_that_the_record_does_not_have() -> None:
    class Open(Record, extra="allow"):
        sku: str

    item = Item(sku="a")
    with pytest.raises(ValidationError, match=r"(?s)Item.*colur.*Extra inputs are not permitted"):
        item.model_copy(update={"colur": "red", "sku": "b"})
    assert item.model_copy(update={"sku": "b"}) == Item(sku="b")
    assert item.model_copy() == item
    assert Open(sku="a").model_copy(update={"more": 1}).model_dump() == {"sku": "a", "more": 1}


def test_a_record_refuses_undeclared_fields_when_it_is_made() -> None:
    with pytest.raises(ValidationError, match="notte"):
        Item(sku="a", notte="b")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="notte"):
        Item.model_validate({"sku": "a", "notte": "b"})


def test_a_class_may_leave_undeclared_fields_out_or_keep_them() -> None:
    class Lax(Record, extra="ignore"):
        a: int = 1

    class Open(Record, extra="allow"):
        a: int = 1

    assert Lax(b=2) == Lax()  # type: ignore[call-arg]
    assert Open(b=2).model_extra == {"b": 2}  # type: ignore[call-arg]


class Late(Record, primitive=True):
    colour: Shade
    more: list[Shade] | None = None


class Later(Record, primitive=True):
    colour: Shade


class Shade(StrEnum):
    RED = "red"


def test_a_class_whose_types_are_defined_later_is_checked_when_a_stream_is_declared() -> None:
    record_type = adapt(Later)
    assert record_type.primitive_form.enums == {"colour": Shade}
    assert record_type.dump(Later(colour=Shade.RED)) == {"colour": "red"}
    with pytest.raises(ConfigError, match=r"primitive record Late, field more: .* is not flat"):
        adapt(Late)
