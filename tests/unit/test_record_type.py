"""Records of another class are refused, and JSON becomes a record or names each wrong field."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import field_validator

from runnel.errors import DecodeError, EncodeError, RecordError
from runnel.record import Record, adapt
from tests.unit.orders import NOW, Item, Order, kinds


class Line(Record):
    sku: str
    price: Decimal


def test_a_record_of_another_class_is_refused_by_both_names() -> None:
    with pytest.raises(EncodeError, match=r"carries Order records, not Item: Item\(sku='a'"):
        adapt(Order).dump(Item(sku="a"))


def test_a_record_of_a_class_of_the_same_name_is_refused_with_what_may_have_happened() -> None:
    def item(module: str) -> type[Record]:
        return type("Item", (Record,), {"__module__": module, "__qualname__": "Item"})

    for declared in (item("shop"), item("shop") | Item):
        record_type = adapt(declared)
        with pytest.raises(EncodeError, match="class Item was defined again after the stream"):
            record_type.dump(item("shop")())
        with pytest.raises(EncodeError, match=r"carries shop\.Item records, not __main__\.Item: "):
            record_type.dump(item("__main__")())


def test_a_record_of_a_subclass_is_refused_as_it_would_come_back_as_another() -> None:
    class Special(Item):
        extra: int = 1

    with pytest.raises(
        EncodeError, match="this Special would come back as one of these: send it as Item"
    ):
        adapt(Item).dump(Special(sku="a"))


def test_a_value_without_any_plain_form_is_refused() -> None:
    class Anything(Record):
        value: Any

    with pytest.raises(EncodeError, match="Anything cannot be written"):
        adapt(Anything).dump(Anything(value=object()))


@kinds
def test_json_makes_a_record(kind: type[Any]) -> None:
    text = '{"order_id": 1, "at": "2024-01-02T03:04:05Z", "price": "1.10", "raw": ""}'
    expected = kind(order_id=1, at=NOW.replace(microsecond=0), price=Decimal("1.10"), raw=b"")
    assert adapt(kind).from_json(text) == adapt(kind).from_json(text.encode()) == expected


@kinds
def test_every_bad_field_of_json_is_named_in_one_sentence(kind: type[Any]) -> None:
    with pytest.raises(RecordError) as caught:
        adapt(kind).from_json('{"order_id": "x", "at": 5.5, "price": [1]}')
    message = str(caught.value)
    name = kind.__name__
    assert f"{name}.order_id: expected" in message
    assert ', got "x"' in message
    assert f"{name}.price: expected" in message
    assert f"{name}.raw: missing" in message
    assert "\n" not in message


@kinds
@pytest.mark.parametrize("text", ["", "{", "nope", b"\xff", '{"a": 1} x', "\ud800"])
def test_text_that_is_no_json_is_refused(kind: type[Any], text: str | bytes) -> None:
    with pytest.raises(RecordError, match=rf"^{kind.__name__}: "):
        adapt(kind).from_json(text)


@kinds
@pytest.mark.parametrize("text", ["[1]", "3", "null", '"x"'])
def test_json_that_is_no_object_is_refused(kind: type[Any], text: str) -> None:
    with pytest.raises(RecordError, match=rf"^{kind.__name__}: expected"):
        adapt(kind).from_json(text)


def test_json_for_the_command_line_names_every_bad_field() -> None:
    with pytest.raises(RecordError, match=r"Line\.sku: .*; Line\.price: "):
        adapt(Line).from_json('{"price": "x"}')
    with pytest.raises(RecordError, match="Invalid JSON"):
        adapt(Line).from_json("{")


class Endless(Record):
    items: list[Any]


def test_the_part_without_a_plain_form_is_named() -> None:
    for items, where in (
        ([1, object()], r"Endless\.items\[1\]"),
        ([{"a": {object}}], r"Endless\.items\[0\]\.a"),
    ):
        with pytest.raises(EncodeError, match=rf"^Endless cannot be written: {where}: "):
            adapt(Endless).dump(Endless(items=items))


def test_what_comes_back_must_equal_what_was_sent() -> None:
    record_type = adapt(Item)
    record_type.check(Item(sku="a"), Item(sku="a"))
    with pytest.raises(
        EncodeError, match=r"^Item cannot be written: Item\.sku: 'a' would come back as 'b'$"
    ):
        record_type.check(Item(sku="a"), Item(sku="b"))


def test_values_too_deep_to_be_compared_are_refused() -> None:
    def endless() -> Endless:
        items: list[Any] = []
        items.append(items)
        return Endless.model_construct(items=items)

    with pytest.raises(EncodeError, match=r"it cannot be compared with what comes back: .*depth"):
        adapt(Endless).check(endless(), endless())


def test_whatever_a_validator_raises_is_an_error_of_the_record() -> None:
    class Fragile(Record):
        a: int

        @field_validator("a")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError("no such thing")

    record_type = adapt(Fragile)
    with pytest.raises(RecordError, match=r"^Fragile: 'no such thing'$"):
        record_type.from_json('{"a": 1}')
    with pytest.raises(DecodeError, match=r"^Fragile: 'no such thing'$"):
        record_type.load({"a": 1})


def test_the_classes_of_a_union_that_lack_a_field_are_told() -> None:
    record_type = adapt(Item | Line | Order)
    assert record_type.without_field("price") == [Item]
    assert record_type.without_field("sku") == [Order]
    assert record_type.name == "Item | Line | Order"
