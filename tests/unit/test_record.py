"""Record classes of every kind: checked when made or written, plain on the wire, clear refusals."""

from __future__ import annotations

import dataclasses
import types
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError, computed_field, field_validator

from runnel.errors import ConfigError, DecodeError, EncodeError, RecordError
from runnel.record import Record, adapt

T = TypeVar("T")


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Level(IntEnum):
    LOW = 1


class Item(Record):
    sku: str
    amount: int = 1


class Order(Record):
    order_id: int
    at: datetime
    price: Decimal
    key: UUID
    size: Size
    raw: bytes
    item: Item
    items: list[Item] = []
    by_size: dict[int, Item] = {}
    note: str | None = None


class Model(BaseModel):
    order_id: int
    at: datetime
    price: Decimal
    raw: bytes


@dataclasses.dataclass
class Data:
    order_id: int
    at: datetime
    price: Decimal
    raw: bytes


class Struct(msgspec.Struct):
    order_id: int
    at: datetime
    price: Decimal
    raw: bytes


class Renamed(Record):
    order_id: int = Field(alias="orderId")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.order_id * 2


NOW = datetime(2024, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
KINDS: list[type[Any]] = [Model, Data, Struct]
kinds = pytest.mark.parametrize("kind", KINDS)


def order(**changes: Any) -> Order:
    values = {
        "order_id": 1,
        "at": NOW,
        "price": Decimal("1.10"),
        "key": UUID(int=1),
        "size": Size.LARGE,
        "raw": b"\xff",
        "item": Item(sku="a"),
    }
    return Order(**{**values, **changes})


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


def test_a_wrong_value_is_refused_when_the_record_is_made() -> None:
    with pytest.raises(ValidationError, match="order_id"):
        order(order_id="x")


def test_a_copy_takes_no_field_that_the_record_does_not_have() -> None:
    class Open(Record, extra="allow"):
        sku: str

    item = Item(sku="a")
    with pytest.raises(ValidationError, match=r"(?s)Item.*colur.*Extra inputs are not permitted"):
        item.model_copy(update={"colur": "red", "sku": "b"})
    assert item.model_copy(update={"sku": "b"}) == Item(sku="b")
    assert item.model_copy() == item
    assert Open(sku="a").model_copy(update={"more": 1}).model_dump() == {"sku": "a", "more": 1}


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


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("order_id", "x", 'Order.order_id: expected an integer, got "x"'),
        ("order_id", 1.5, "Order.order_id: expected an integer, got 1.5"),
        ("at", "soon", 'Order.at: expected an ISO 8601 date and time, got "soon"'),
        ("price", "x", 'Order.price: expected a decimal number, got "x"'),
        ("key", "x", 'Order.key: expected a UUID, got "x"'),
        ("size", 9, "Order.size: expected 1 or 2, got 9"),
        ("item", 3, "Order.item: expected an object, got 3"),
        ("items", [{"sku": 1}], "Order.items[0].sku: expected a string, got 1"),
        ("note", 1, "Order.note: expected a string, got 1"),
        ("note", b"\xff", "Order.note: expected a string, got b'\\xff'"),
        ("order_id", "x" * 999, "Order.order_id: expected an integer, got "),
    ],
)
def test_a_refusal_names_the_field_and_what_was_expected(
    field: str, value: Any, sentence: str
) -> None:
    record_type = adapt(Order)
    with pytest.raises(DecodeError) as caught:
        record_type.load({**record_type.dump(order()), field: value})
    assert str(caught.value).startswith(sentence)
    assert len(str(caught.value)) < 200


def test_a_long_list_of_wrong_items_makes_a_short_message() -> None:
    record_type = adapt(Order)
    with pytest.raises(DecodeError, match=r"and 980 more$"):
        record_type.load({**record_type.dump(order()), "items": [1] * 1000})


def test_whatever_a_validator_raises_is_a_decode_error() -> None:
    class Fragile(Record):
        a: int

        @field_validator("a")
        @classmethod
        def check(cls, value: int) -> int:
            raise KeyError("no such thing")

    with pytest.raises(DecodeError, match="Fragile: 'no such thing'"):
        adapt(Fragile).load({"a": 1})


class ArrayLike(msgspec.Struct, array_like=True):
    a: int


class StructOfTwoTexts(msgspec.Struct):
    a: datetime | str


@dataclasses.dataclass
class Strange:
    value: Struct


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (StructOfTwoTexts, r"^StructOfTwoTexts\.a: it cannot be stored: Type unions"),
        (dict, "derive it from runnel.Record"),
        (int, "derive it from runnel.Record"),
        ("Order", "derive it from runnel.Record"),
        (Item(sku="a"), "derive it from runnel.Record"),
        (list[int], "derive it from runnel.Record"),
        (ArrayLike, "array_like"),
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


class Flat(Record, primitive=True):
    a: int
    b: str | None
    c: Annotated[float, Field(gt=0)] = 1.0
    d: Size = Size.SMALL
    e: Literal["x", "y"] = "x"
    f: Level | None = None


def test_a_primitive_record_describes_its_fields() -> None:
    record_type = adapt(Flat)
    assert record_type.primitive
    assert record_type.primitive_form.optional == {"b", "f"}
    assert record_type.primitive_form.enums == {"d": Size, "f": Level}


@pytest.mark.parametrize(
    "annotation",
    [Item, list[int], dict[str, int], Any, int | str, tuple[int, ...], Literal[1], None],
)
def test_a_primitive_record_refuses_a_field_that_is_not_flat(annotation: Any) -> None:
    with pytest.raises(ConfigError, match=r"primitive record Bad, field nested: .*not flat"):
        types.new_class(
            "Bad",
            (Record,),
            {"primitive": True},
            lambda body: body.update(__annotations__={"nested": annotation}),
        )


def test_a_subclass_of_a_primitive_record_is_primitive_and_checked() -> None:
    class More(Flat):
        g: int = 1

    assert adapt(More).primitive
    with pytest.raises(ConfigError, match="field nested"):

        class Nested(Flat):
            nested: list[int]


def test_a_primitive_record_refuses_a_default_that_hides_none() -> None:
    with pytest.raises(ConfigError, match="field a: None is stored by leaving it out"):

        class Hidden(Record, primitive=True):
            a: str | None = "x"


def test_a_primitive_record_refuses_the_name_of_a_header() -> None:
    with pytest.raises(ConfigError, match="starts with @"):

        class Header(Record, primitive=True):
            a: str = Field(alias="@a")


def test_a_generic_primitive_record_is_checked_with_its_types() -> None:
    class Box(Record, Generic[T], primitive=True):
        value: T

    assert adapt(Box[int]).primitive
    with pytest.raises(ConfigError, match="field value"):
        Box[list[int]]
