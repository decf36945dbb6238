"""Undeclared fields: left out when they are read, kept where a class says so, refused in JSON."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from runnel.errors import RecordError
from runnel.record import Record, adapt
from runnel.record.unknown import is_kept, without_unknown


class Address(BaseModel):
    street: str | None = None
    city: str = "Oslo"


class Item(Record):
    sku: str
    note: str = ""


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    inner: Item | None = None
    plain: Address | None = None
    by: dict[str, Item] = {}


class Order(Record):
    items: list[Item] = []
    address: Address | None = None
    loose: Loose | None = None


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    items: list[Item] = []


@dataclasses.dataclass
class Data:
    item: Item | None = None
    more: list[Data] = dataclasses.field(default_factory=list)


class Reading(Record):
    value: int

    @model_validator(mode="before")
    @classmethod
    def rename(cls, values: Any) -> Any:
        return {"value": values.get("value", values.get("old"))}


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (Item, {"sku": "a", "new": 1}),
        (Order, {"items": [{"sku": "a", "new": 1}], "address": {"new": 2}, "new": 3}),
        (Strict, {"items": [{"sku": "a", "new": 1}], "new": 3}),
        (Order, {"loose": {"inner": {"sku": "a", "new": 1}, "kept": 2}}),
        (Loose, {"by": {"x": {"sku": "a", "new": 1}}, "inner": {"sku": "b", "new": 2}}),
        (Data, {"item": {"sku": "a", "new": 1}, "new": 2}),
    ],
)
def test_stored_ones_are_left_out_when_they_are_read(cls: Any, values: Any) -> None:
    assert "new" not in repr(adapt(cls).load(values))


def test_those_that_a_class_keeps_are_kept() -> None:
    back = adapt(Order).load({"loose": {"inner": {"sku": "a", "new": 1}, "kept": 2}, "new": 3})
    assert back == Order(loose=Loose(inner=Item(sku="a"), kept=2))  # type: ignore[call-arg]


def test_another_fault_is_still_reported() -> None:
    with pytest.raises(RecordError, match=r"^Loose\.inner\.sku: missing$"):
        adapt(Loose).load({"inner": {"new": 1}})


@pytest.mark.parametrize(
    ("cls", "text", "paths"),
    [
        (Item, '{"sku": "a", "notte": "b"}', ["Item.notte"]),
        (Order, '{"items": [{"sku": "a", "x": 1}], "y": 1}', ["Order.items[0].x", "Order.y"]),
        (Order, '{"address": {"town": "b"}}', ["Order.address.town"]),
        (Address, '{"town": "b"}', ["Address.town"]),
        (Order, '{"loose": {"inner": {"sku": "a", "x": 1}, "y": 1}}', ["Order.loose.inner.x"]),
        (Order, '{"loose": {"plain": {"x": 1}, "y": 1}}', ["Order.loose.plain.x"]),
        (Data, '{"item": {"sku": "a", "x": 1}, "more": [{"y": 1}]}',
         ["Data.item.x", "Data.more[0].y"]),
    ],
)  # fmt: skip
def test_json_that_has_them_is_refused_by_name(cls: Any, text: str, paths: list[str]) -> None:
    with pytest.raises(RecordError) as caught:
        adapt(cls).from_json(text)
    reported = str(caught.value).split("; ")
    assert sorted(reported) == sorted(f"{path}: no such field" for path in paths)
    adapt(cls).from_json(text, ignore_unknown=True)


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        (Loose, '{"anything": 1}'),
        (Order, '{"loose": {"anything": {"at": "all"}, "by": {"k": {"sku": "a"}}}}'),
        (Reading, '{"old": 1}'),
    ],
)
def test_json_without_them_is_taken(cls: Any, text: str) -> None:
    adapt(cls).from_json(text)


class Several(RootModel[list[Loose]]):
    pass


def test_undeclared_fields_are_taken_out_of_a_copy() -> None:
    values = {"items": [{"sku": 4, "new": 1}], "loose": {"kept": 2}, "new": {"sku": 3}}
    with pytest.raises(ValidationError) as caught:
        Order.model_validate(values)
    assert without_unknown(values, caught.value) == {
        "items": [{"sku": 4}],
        "loose": {"kept": 2},
    }
    assert values["items"] == [{"sku": 4, "new": 1}]
    assert "new" in values


def test_an_undeclared_field_is_taken_out_of_the_part_of_a_tagged_union() -> None:
    class Plane(Record):
        kind: Literal["plane"] = "plane"

    class Ship(Record):
        kind: Literal["ship"] = "ship"

    class Trip(Record, extra="allow"):
        by: Annotated[Plane | Ship, Field(discriminator="kind")]

    back = adapt(Trip).load({"by": {"kind": "ship", "new": 1}, "kept": 2})
    assert back == Trip(by=Ship(), kept=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("loc", "kept"),
    [
        (("loose", "more"), True),
        (("loose", "other"), False),
        (("more",), False),
        (("loose", "inner", "more"), False),
        (("items", 0, "more"), False),
        (("loose", "Loose", "more"), True),
    ],
)
def test_only_a_field_that_its_class_keeps_is_kept(loc: tuple[str | int, ...], kept: bool) -> None:
    loose = Loose(inner=Item(sku="a"), more=1)  # type: ignore[call-arg]
    assert is_kept(Order(items=[Item(sku="b")], loose=loose), loc) is kept


def test_a_kept_field_is_found_in_lists_maps_and_below_aliases() -> None:
    class Holder(BaseModel):
        by: dict[str, Several] = Field(alias="By")

    record = Holder(By={"a": Several([Loose(), Loose(more=1)])})  # type: ignore[call-arg]
    assert is_kept(record, ("By", "a", 1, "more"))
    assert not is_kept(record, ("By", "a", 0, "more"))


def test_an_unknown_field_of_one_part_of_a_union_stays_if_another_part_needs_it() -> None:
    class Note(Record):
        note: str = ""

    class Keeps(Record, extra="allow"):
        it: Item | Note

    stored = {"it": {"sku": "a", "new": 1}}
    assert adapt(Keeps).load(stored) == Keeps(it=Item(sku="a"))
    text = '{"it": {"sku": "a", "new": 1}}'
    assert adapt(Keeps).from_json(text, ignore_unknown=True) == Keeps(it=Item(sku="a"))
