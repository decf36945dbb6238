"""A record that is known to round-trip does; any other is decoded as a check."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model
from pydantic.alias_generators import to_camel

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer
from runnel.errors import EncodeError
from runnel.record import Record, adapt
from runnel.record.difference import difference

T = TypeVar("T")
BERLIN = ZoneInfo("Europe/Berlin")


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Plane(BaseModel, frozen=True):
    kind: Literal["plane", "jet"] = "plane"
    wings: int = 2


class Ship(Record):
    kind: Literal["ship"] = Field("ship", frozen=True)
    at: datetime | None = None


@dataclasses.dataclass
class Money:
    amount: Decimal = Decimal("1.10")
    currency: str = "EUR"


class Line(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    line_no: int = 1
    price: Money = Field(default_factory=Money)
    sizes: list[Size] = [Size.SMALL]


class Box(BaseModel, Generic[T]):
    value: T


class Plain(Record):
    number: int = 1
    share: float = 0.5
    good: bool = True
    name: str = "a"
    day: date = date(2024, 1, 2)
    at: datetime = datetime(2024, 1, 2, tzinfo=UTC)
    span: timedelta = timedelta(seconds=1)
    key: UUID = UUID(int=1)
    price: Decimal = Decimal("1.10")
    size: Size = Size.LARGE
    colour: Colour = Colour.RED
    choice: Literal["a", "b"] = "a"
    other: int | None = Field(default=None, alias="another")


class Deep(Record):
    line: Line = Field(default_factory=Line)
    lines: list[Line] = Field(default_factory=lambda: [Line(), Line()])
    maybe: Line | None = None
    words: list[str] = ["a"]
    moments: list[datetime | None] = [None, datetime(2024, 1, 2)]
    counts: dict[str, int] = {"a": 1}
    by_name: dict[str, list[Money]] = Field(default_factory=lambda: {"a b": [Money()]})
    vehicle: Annotated[Plane | Ship, Field(discriminator="kind")] = Field(default_factory=Plane)
    fleet: list[Annotated[Plane | Ship, Field(discriminator="kind")]] = []
    box: Box[date] = Field(default_factory=lambda: Box[date](value=date(2024, 1, 2)))


def known_to_round_trip(record: Any) -> bool:
    dump_exact = adapt(type(record)).dump_exact
    return dump_exact is not None and dump_exact(record) is not None


WILD: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.booleans(),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=3),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, UTC, BERLIN, timezone(timedelta(seconds=90))])),
    st.times(timezones=st.sampled_from([None, BERLIN])),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.none(),
    st.binary(max_size=2),
    st.sampled_from([*Size, *Colour, "red", "b", "jet", "ship"]),
    st.builds(Money, st.decimals(), st.text(max_size=2) | st.none()),
    st.builds(Line, line_no=st.integers()),
    st.builds(Plane) | st.builds(Ship) | st.builds(Box, value=st.dates()),
    st.builds(Box[date], value=st.dates()) | st.just(RootModel[int](1)),
)
VALUES = st.one_of(
    WILD,
    st.lists(WILD, max_size=2),
    st.tuples(WILD),
    st.dictionaries(st.text(max_size=2) | st.integers(0, 2), WILD, max_size=2),
    st.dictionaries(st.text(max_size=2), st.lists(WILD, max_size=2), max_size=2),
)
FACES: dict[type[Any], Any] = {Plain: adapt(Plain), Deep: adapt(Deep)}


#: Each record, and what is inside it, is changed at one or two paths.
INSIDE: dict[type[Any], list[Callable[[Any], Any]]] = {
    Plain: [lambda record: record],
    Deep: [
        lambda record: record,
        lambda record: record.line,
        lambda record: record.line.price,
        lambda record: record.lines[1],
        lambda record: record.by_name["a b"][0],
        lambda record: record.vehicle,
        lambda record: record.box,
    ],
}
SIZES = st.sampled_from(Size)
NAIVE_OR_UTC = st.datetimes(timezones=st.sampled_from([None, UTC]))
FINITE = st.decimals(allow_nan=False, allow_infinity=False)
MONEY = st.builds(Money, FINITE, st.text())
LINES = st.builds(Line, line_no=st.integers(), price=MONEY, sizes=st.lists(SIZES, max_size=2))
PLANES = st.builds(Plane, kind=st.sampled_from(["plane", "jet"]), wings=st.integers())
VEHICLES = PLANES | st.builds(Ship, at=st.none() | NAIVE_OR_UTC)
RECORDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Plain: st.builds(
        Plain,
        number=st.integers(),
        share=st.floats(),
        name=st.text(),
        day=st.dates(),
        at=NAIVE_OR_UTC,
        span=st.timedeltas(),
        key=st.uuids(),
        price=FINITE,
        size=SIZES,
        colour=st.sampled_from(Colour),
        choice=st.sampled_from(["a", "b"]),
        another=st.none() | st.integers(),
    ),
    Deep: st.builds(
        Deep,
        line=LINES,
        lines=st.lists(LINES, max_size=2),
        maybe=st.none() | LINES,
        words=st.lists(st.text(), max_size=2),
        moments=st.lists(st.none() | NAIVE_OR_UTC, max_size=2),
        counts=st.dictionaries(st.text(), st.integers(), max_size=2),
        by_name=st.dictionaries(st.text(), st.lists(MONEY, max_size=2), max_size=2),
        vehicle=VEHICLES,
        fleet=st.lists(VEHICLES, max_size=2),
        box=st.builds(Box[date], value=st.dates()),
    ),
}


@settings(max_examples=400)
@given(st.data())
@pytest.mark.parametrize("kind", FACES)
def test_a_record_that_is_known_to_round_trip_does(kind: type[Any], data: st.DataObject) -> None:
    record = kind()
    changeable = [inner(record) for inner in INSIDE[kind]]
    for _ in range(data.draw(st.integers(0, 2))):
        inner = changeable[data.draw(st.integers(0, len(changeable) - 1))]
        name = data.draw(st.sampled_from([*inner.__dict__, *inner.__dict__, "stray"]))
        if data.draw(st.integers(0, 9)) == 0:
            inner.__dict__.pop(name, None)
        else:
            inner.__dict__[name] = data.draw(VALUES)
    record_type = FACES[kind]
    assert record_type.dump_exact is not None
    if (values := record_type.dump_exact(record)) is not None:
        try:
            assert repr(values) == repr(record_type.dump(record))
        except EncodeError:  # Half a surrogate pair, which no serializer writes.
            for serializer in (MsgpackSerializer(), JSONSerializer()):
                with pytest.raises(EncodeError):
                    serializer.dumps(values)
        else:
            assert difference(record, record_type.load(values), "record") is None


@given(st.data())
@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_of_such_fields_is_known_to_round_trip(
    kind: type[Any], data: st.DataObject
) -> None:
    record = data.draw(RECORDS[kind])
    record_type = FACES[kind]
    assert record_type.dump_exact is not None
    values = record_type.dump_exact(record)
    assert values is not None
    assert repr(values) == repr(record_type.dump(record))
    assert difference(record, record_type.load(values), "record") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "1"),
        ("number", None),
        ("number", True),
        ("share", 1),
        ("at", datetime(2024, 1, 2, tzinfo=BERLIN)),
        ("at", date(2024, 1, 2)),
        ("day", datetime(2024, 1, 2)),
        ("price", Decimal("NaN")),
        ("price", Decimal("-Infinity")),
        ("price", 1),
        ("size", Colour.RED),
        ("size", 1),
        ("colour", "red"),
        ("choice", "c"),
    ],
)
def test_a_record_with_a_value_of_another_type_is_decoded_as_a_check(name: str, value: Any) -> None:
    record = Plain()
    record.__dict__[name] = value
    assert not known_to_round_trip(record)


def test_a_value_of_another_type_is_found_at_any_depth() -> None:
    changes: list[Callable[[Deep], Any]] = [
        lambda deep: deep.lines.append(Box(value=1)),  # type: ignore[arg-type]
        lambda deep: deep.lines[1].price.__dict__.update(amount=1),
        lambda deep: deep.lines[1].sizes.append(1),  # type: ignore[arg-type]
        lambda deep: deep.words.append(b"a"),  # type: ignore[arg-type]
        lambda deep: deep.moments.append(datetime(2024, 1, 2, tzinfo=BERLIN)),
        lambda deep: deep.counts.update({1: 1}),  # type: ignore[dict-item]
        lambda deep: deep.counts.update(b=True),
        lambda deep: deep.by_name["a b"].append(None),  # type: ignore[arg-type]
        lambda deep: deep.vehicle.__dict__.update(kind="ship"),
        lambda deep: deep.__dict__.update(lines=(Line(),)),
        lambda deep: deep.__dict__.update(box=Box(value=date(2024, 1, 2))),
        lambda deep: deep.fleet.append(Line()),  # type: ignore[arg-type]
    ]
    assert known_to_round_trip(Deep())
    for change in changes:
        deep = Deep(words=["a"], counts={"a": 1}, moments=[], fleet=[])
        change(deep)
        assert not known_to_round_trip(deep)


@pytest.mark.parametrize("alias", ["it's", 'a "b"', "a\nb\\", "values", "{x}", "é", ""])
def test_a_field_may_have_any_name_on_the_wire(alias: str) -> None:
    fields: dict[str, Any] = {"values": (int, Field(1, alias=alias)), "type0": (str, "a")}
    record = create_model("Strange", __base__=Record, **fields)()
    record_type = adapt(type(record))
    assert record_type.dump_exact is not None
    assert record_type.dump_exact(record) == record_type.dump(record) == {alias: 1, "type0": "a"}
    assert record_type.load(record_type.dump(record)) == record


def test_a_record_with_a_missing_or_unknown_field_is_decoded_as_a_check() -> None:
    record = Plain()
    del record.__dict__["name"]
    assert not known_to_round_trip(record)
    record.__dict__["stray"] = "a"
    assert not known_to_round_trip(record)


def test_a_record_of_another_class_with_the_same_fields_is_not_known_to() -> None:
    class Special(Plain):
        pass

    dump_exact = adapt(Plain).dump_exact
    assert dump_exact is not None
    assert dump_exact(Plain()) is not None
    assert dump_exact(Special()) is None


def test_other_records_are_decoded_as_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = EntryCodec(adapt(Plain), MsgpackSerializer())
    looked: list[Any] = []
    monkeypatch.setattr(codec.record_type, "check", lambda sent, _: looked.append(sent))
    codec.encode(Plain())
    codec.encode(careful := Plain(at=datetime(2024, 1, 2, tzinfo=BERLIN)))
    assert looked == [careful]
