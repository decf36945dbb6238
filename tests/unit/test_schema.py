"""What the schema of a class says of its values: their form, their names and their equality."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    TypeAdapter,
)

from runnel.record import Record, adapt, schema
from runnel.record.plain import plain
from runnel.record.schema import Spot, spots
from tests.unit.every_kind import RECORDS, Camel, Data, Native, Nested, Scalars, Tree, Unions
from tests.unit.one_field import with_field

few = settings(max_examples=25)


@few
@given(data=st.data())
@pytest.mark.parametrize("kind", [Scalars, Nested, Unions, Camel, Tree, Data, Native])
def test_the_fast_way_to_plain_values_is_the_slow_way(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(RECORDS[kind])
    adapter = TypeAdapter(kind)
    slow = plain(adapter.dump_python(record, by_alias=True, round_trip=True, warnings=False))
    assert without_order(adapt(kind).dump(record)) == without_order(slow)


def without_order(value: Any) -> Any:
    """A set is dumped in whatever order it has at the time."""
    if isinstance(value, dict):
        return {key: without_order(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted(map(without_order, value), key=repr)
    return value


class Grade(enum.Enum):
    BYTES = b"a"


class Inner(Record):
    number: int


class Outer(Record):
    items: list[Inner] = []
    other: Inner | None = None
    own: Annotated[Inner, BeforeValidator(lambda it: it)]


class Twin(Record):
    number: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Twin)

    __hash__ = None  # type: ignore[assignment]


@dataclass
class Point:
    x: int


class Keeping(Record, extra="allow"):
    number: int = 1


class Hooked(Record):
    number: int = 1

    def model_post_init(self, _: Any) -> None:
        pass


def of(form: Any) -> list[Spot]:
    """The nodes of a class, or of a class with one field of another type."""
    cls = form if isinstance(form, type) and issubclass(form, Record) else with_field(form)
    return spots(TypeAdapter(cls).core_schema, cls.__name__)


def test_each_type_is_found_once_with_its_path_and_before_what_it_is_in() -> None:
    found = of(Outer)
    numbers = [spot for spot in found if spot.node["type"] == "int"]
    assert [(spot.where, spot.custom) for spot in numbers] == [
        ("Inner.number", False),
        ("Inner.number", True),
    ]
    classes = [(spot.where, spot.custom) for spot in found if spot.node["type"] == "model"]
    assert classes == [("Inner", False), ("Inner", True), ("Outer", False)]
    lists = [spot.where for spot in found if spot.node["type"] == "list"]
    assert lists == ["Outer.items"]


@pytest.mark.parametrize(
    ("field", "config", "names"),
    [
        (Field(), {}, ["it"]),
        (Field(alias="b"), {}, ["b"]),
        (Field(serialization_alias="b"), {}, ["it"]),
        (Field(alias="b"), {"populate_by_name": True}, ["b", "it"]),
        (Field(alias="b"), {"validate_by_name": True}, ["b", "it"]),
        (Field(alias="b"), {"validate_by_name": True, "validate_by_alias": False}, ["it"]),
        (Field(validation_alias=AliasChoices("b", "c")), {}, ["b", "c"]),
        (Field(validation_alias=AliasPath("b", 0)), {}, []),
        (Field(validation_alias=AliasChoices("b", AliasPath("c", 0))), {}, ["b"]),
    ],
)
def test_a_field_is_read_by_these_names(
    field: Any, config: dict[str, Any], names: list[str]
) -> None:
    (spot,) = (each for each in of(with_field((int, field), **config)) if "fields" in each.node)
    assert schema.names_to_read("it", spot.node["fields"]["it"], spot.config) == names


@pytest.mark.parametrize(
    ("form", "calls"),
    [
        (int, False),
        (Path, False),
        (Outer, True),
        (Hooked, True),
        (Annotated[int, AfterValidator(abs)], True),
        (Annotated[int, PlainSerializer(abs)], True),
        (Annotated[Inner | Twin, Field(union_mode="left_to_right")], False),
        (
            Annotated[
                Annotated[Inner, Tag("a")] | Annotated[Twin, Tag("b")],
                Discriminator(lambda it: "a"),
            ],
            True,
        ),
    ],
)
def test_code_of_the_users_is_found_and_that_of_pydantic_is_not_taken_for_it(
    form: Any, calls: bool
) -> None:
    cls = form if form in (Outer, Hooked) else with_field(form)
    assert schema.calls_users_code(TypeAdapter(cls).core_schema) is calls


@pytest.mark.parametrize(
    ("form", "same"),
    [
        (int, True),
        (list[dict[str, Inner | None]], True),
        (Literal["a"], True),
        (time, True),
        (bytes, False),
        (list[bytes], False),
        (Grade, False),
        (Literal[b"a"], False),
        (Any, False),
        (Path, False),
        (Keeping, False),
        (Annotated[int, PlainSerializer(abs)], False),
    ],
)
def test_the_json_form_is_the_plain_form_unless_it_makes_text_of_bytes(
    form: Any, same: bool
) -> None:
    assert schema.json_is_plain(of(form)) is same


@pytest.mark.parametrize(
    ("form", "tells"),
    [
        (int, True),
        (bytes, True),
        (Any, True),
        (Inner | None, True),
        (time, False),
        (list[time], False),
        (Point, False),
        (Twin, False),
        (list[Twin], False),
        (Annotated[int, AfterValidator(abs)], False),
        (Annotated[int, PlainSerializer(abs)], False),
        (Path, False),
    ],
)
def test_equal_fields_tell_that_a_record_is_unchanged_except_where_equality_hides_something(
    form: Any, tells: bool
) -> None:
    assert schema.equality_tells(of(form)) is tells


@pytest.mark.parametrize(
    ("form", "keeps"), [(Inner, False), (Keeping, True), (list[Keeping], True), (Any, False)]
)
def test_a_class_that_keeps_undeclared_fields_is_found_at_any_depth(form: Any, keeps: bool) -> None:
    assert schema.keeps_unknown(of(form)) is keeps


@pytest.mark.parametrize(
    ("form", "where"),
    [
        (int, None),
        (bytes, "Made.it"),
        (dict[str, list[bytes | None]], "Made.it"),
        (Annotated[bytes, PlainSerializer(bytes.hex)], None),
    ],
)
def test_the_field_that_holds_bytes_is_named_unless_it_is_written_as_something_else(
    form: Any, where: str | None
) -> None:
    assert schema.bytes_field(of(form)) == where
