"""A message names the field by its path, what was expected and what was given."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, create_model

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.errors import DecodeError, RecordError
from runnel.record import Record, adapt
from runnel.record.messages import (
    as_json,
    exactly,
    explain,
    has_key,
    one_line,
    path,
    path_of,
    reason,
    step,
    struct_problem,
)
from tests.unit.orders import Order, order


class Address(BaseModel):
    street: str | None = None
    city: str = "Oslo"


class Line(Record):
    sku: str
    note: str = ""


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    inner: Line | None = None
    plain: Address | None = None
    by: dict[str, Line] = {}


class Basket(Record):
    items: list[Line] = []
    address: Address | None = None
    loose: Loose | None = None


class Created(Record):
    kind: Literal["created"] = "created"
    user: int
    at: datetime


class Renamed(BaseModel):
    kind: Literal["renamed"] = "renamed"
    user: int
    name: str


@dataclasses.dataclass
class Charged:
    user: int
    amount: Decimal
    kind: Literal["charged"] = "charged"


class Deposit(Record):
    user: int
    amount: int


class Note(Record):
    user: int
    text: str


Tagged = Annotated[Created | Renamed | Charged, Field(discriminator="kind")]
CREATED = Created(user=1, at=datetime(2024, 1, 2))
RENAMED = Renamed(user=1, name="a")


def codec(form: Any, **options: Any) -> EntryCodec[Any]:
    return EntryCodec(adapt(form), options.pop("serializer", MsgpackSerializer()), **options)


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


@pytest.mark.parametrize(
    ("cls", "values", "path"),
    [
        (Basket, {"items": [{"sku": "a"}, {"sku": 1}]}, "Basket.items[1].sku: expected a string"),
        (Loose, {"by": {"a b": {"sku": 1}}}, "Loose.by['a b'].sku: expected a string, got 1"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_path(cls: Any, values: Any, path: str) -> None:
    with pytest.raises(RecordError) as caught:
        adapt(cls).load(values)
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"kind": "lost"}, "tag 'lost'"),
        ({"kind": "renamed", "user": "x", "name": "a"}, r"^renamed\.user: expected an integer"),
        ({"kind": "renamed", "user": 1}, r"^renamed\.name: missing"),
        ({"kind": "charged", "user": 1, "amount": "x"}, r"^charged\.amount: expected a decimal"),
        ({}, "discriminator"),
        ([1], "the payload is list, not a map of fields"),
    ],
)
def test_an_entry_of_no_class_of_a_union_names_the_field(values: Any, says: str) -> None:
    entry = [b"msgpack", MsgpackSerializer().dumps(values)]
    with pytest.raises(DecodeError, match=says):
        codec(Tagged).decode(entry)


def test_an_entry_of_no_class_of_an_untagged_union_names_the_field_of_each() -> None:
    with pytest.raises(DecodeError, match=r"^Deposit\.amount: missing; Note\.text: expected a str"):
        adapt(Deposit | Note).load({"user": 1, "text": 2})


def test_a_part_of_a_union_inside_a_record_is_named() -> None:
    holder = create_model("Holder", events=(list[Tagged], ...), plain=(int | bool, 1))
    with pytest.raises(
        DecodeError, match=r"^Holder\.events\[1\]\(renamed\)\.user: expected an int"
    ):
        adapt(holder).load(
            {"events": [CREATED.model_dump(), {**RENAMED.model_dump(), "user": "x"}]}
        )
    with pytest.raises(DecodeError, match=r"^Holder\.plain\(int\): expected an integer, got \"x\""):
        adapt(holder).load({"events": [], "plain": "x"})


class Shy:
    def __repr__(self) -> str:
        raise RuntimeError("not shown")


@pytest.mark.parametrize(
    ("key", "shown"),
    [("items", "Order.items"), (3, "Order[3]"), ("a b", "Order['a b']"), ("1", "Order['1']")],
)
def test_a_step_is_an_attribute_if_it_is_a_name_and_else_a_key(key: object, shown: str) -> None:
    assert step("Order", key) == shown


def test_a_long_path_is_shortened() -> None:
    assert path("Order", ["a", 1, "b"]) == "Order.a[1].b"
    assert path("Order", ["a"] * 10) == "Order" + ".a" * 10
    assert path("Order", ["a"] * 11) == "Order" + ".a" * 10 + "..."


@pytest.mark.parametrize(
    ("values", "key", "has"),
    [
        ({"a": 1}, "a", True),
        ({"a": 1}, "b", False),
        ([1], 0, True),
        ([1], 1, False),
        ([1], "0", False),
        ("text", 0, False),
        (None, "a", False),
    ],
)
def test_keys_and_indexes_are_looked_up_in_plain_values(
    values: object, key: str | int, has: bool
) -> None:
    assert has_key(values, key) is has


@pytest.mark.parametrize(
    ("name", "loc", "values", "shown"),
    [
        ("Order", ("items", 1, "sku"), {"items": [{}, {"sku": 1}]}, "Order.items[1].sku"),
        ("Order", ("by", "a b", "[key]"), {"by": {"a b": 1}}, "Order.by['a b']"),
        ("Order", ("by", "a", "[key]"), {"by": {"a": {}}}, "Order.by.a"),
        ("Order", ("it", "int"), {"it": "x"}, "Order.it(int)"),
        ("Order", ("it", "function-after[check(), int]"), {"it": "x"}, "Order.it"),
        ("Order", ("sku",), {}, "Order.sku"),
        ("Created | Renamed", ("renamed", "user"), {"user": 1}, "renamed.user"),
    ],
)
def test_a_location_of_pydantic_becomes_a_path_of_keys(
    name: str, loc: tuple[str | int, ...], values: object, shown: str
) -> None:
    assert path_of(name, loc, values) == shown


@pytest.mark.parametrize(
    ("message", "value", "says"),
    [
        ("Object missing required field `a b` - at `$.c`", None, "It['a b']: missing"),
        ("Expected `int`, got `str` - at `$.a`", "x", 'It: expected int, got "x"'),
        ("Expected `int` >= 1 - at `$.a`", 0, "It: expected int >= 1"),
        ("Expected `int`, got `str`", None, "It: expected int, got str"),
        ("Expected `int`, got `str` - at `key in $.a`", {}, "It: expected int as key, got str"),
    ],
)
def test_a_message_of_msgspec_gets_our_path_and_the_value(
    message: str, value: Any, says: str
) -> None:
    assert struct_problem("It", message, value) == says


@pytest.mark.parametrize(
    ("value", "json", "python"),
    [
        ("ż", '"ż"', "'ż'"),
        (None, "null", "None"),
        ((1,), "[1]", "(1,)"),
        ({1}, "{1}", "{1}"),
        (Shy(), "a Shy", "a Shy"),
        ("x" * 100, '"' + "x" * 76 + "...", "'" + "x" * 76 + "..."),
    ],
)
def test_a_value_is_shown_as_json_or_as_python_and_never_at_length(
    value: object, json: str, python: str
) -> None:
    assert (as_json(value), exactly(value)) == (json, python)


def test_what_another_library_says_becomes_one_line_without_its_advice() -> None:
    assert one_line("a\n  b\tc ") == "a b c"
    assert explain("Order", ValueError("not\nso")) == "Order: not so"
    error = PydanticUserError("No form.\nSet `arbitrary_types_allowed=True`", code=None)
    assert reason(error) == "No form."
