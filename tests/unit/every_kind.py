"""Record classes of every kind, and strategies that draw records of them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    RootModel,
    computed_field,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from runnel.record import Record

T = TypeVar("T")


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Item(BaseModel, frozen=True):
    sku: str
    price: Decimal
    tags: frozenset[str] = frozenset()


class Plane(BaseModel):
    kind: Literal["plane"] = "plane"
    wings: int


class Ship(BaseModel):
    kind: Literal["ship"] = "ship"
    at: date


class Point(NamedTuple):
    x: int
    y: float


class Named(TypedDict):
    name: str
    age: int


class Words(RootModel[list[str]]):
    pass


class Scalars(Record):
    text: str
    number: int
    real: float
    truth: bool
    price: Decimal
    key: UUID
    at: datetime
    day: date
    clock: time
    span: timedelta
    size: Size
    colour: Colour
    access: Access
    choice: Literal["a", 1, None]


class Nested(Record):
    item: Item
    items: list[Item]
    by_name: dict[str, Item | None]
    by_number: dict[int, list[Size]]
    by_colour: dict[Colour, UUID]
    pair: tuple[int, date]
    many: tuple[Decimal, ...]
    days: set[date]
    note: str | None = None
    point: Point
    named: Named
    words: Words


class Unions(Record):
    plain: int | str | None
    wide: bool | int | float | list[int] | dict[str, int]
    money: Decimal | float
    tagged: Annotated[Plane | Ship, Field(discriminator="kind")]
    either: Plane | Ship | Item


class Camel(Record, alias_generator=to_camel, populate_by_name=True, extra="forbid"):
    order_id: int
    created_at: datetime
    line_items: list[Item] = []

    @computed_field  # type: ignore[prop-decorator]
    @property
    def line_count(self) -> int:
        return len(self.line_items)

    @field_validator("order_id")
    @classmethod
    def keep(cls, value: int) -> int:
        return value


class Box(Record, Generic[T]):
    value: T
    others: list[T] = []


class Tree(Record):
    value: int
    left: Tree | None = None
    right: Tree | None = None


class Raw(Record):
    data: bytes
    parts: list[bytes]
    by_name: dict[str, bytes | int]
    at: datetime | None


class Own(Record, arbitrary_types_allowed=True):
    number: Annotated[complex, PlainSerializer(lambda it: str(it)), BeforeValidator(complex)]
    mapping: Mapping[str, int]
    sequence: Sequence[date]
    anything: Any


class Strict(Record, strict=True, use_enum_values=True):
    size: Size
    at: datetime
    key: UUID
    days: set[date]


@dataclasses.dataclass
class Data:
    number: int
    at: datetime
    items: list[Item]
    note: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slotted:
    number: int
    at: datetime


@pydantic_dataclass
class Checked:
    number: int
    colour: Colour = Field(alias="Colour")


class Struct(msgspec.Struct, rename="camel", kw_only=True):
    order_id: int
    real: float
    price: Decimal
    key: UUID
    at: datetime
    day: date
    size: Size
    by_size: dict[Size, int]
    by_number: dict[int, str]
    days: set[date]
    pair: tuple[int, date]
    note: str | None = None


class Native(Record, primitive=True, populate_by_name=True):
    text: str
    number: int
    real: float
    truth: bool
    raw: bytes
    price: Decimal
    key: UUID
    at: datetime
    day: date
    clock: time
    span: timedelta
    size: Size
    colour: Colour
    access: Access
    choice: Literal["a", "b"]
    renamed: int = Field(alias="re-named")
    note: str | None
    maybe: Size | None = None
    data: bytes | None = None


#: Values that can travel: integers of 64 bits, offsets in whole minutes, no NaN among decimals.
NUMBER = st.integers(-(2**63), 2**64 - 1)
TEXT = st.text(max_size=9)
PRICE = st.decimals(allow_nan=False, allow_infinity=False)
REAL = st.floats(allow_nan=False, allow_infinity=False)
OFFSETS = st.integers(-1439, 1439).map(lambda each: timezone(timedelta(minutes=each)))
AT = st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.datetimes(timezones=OFFSETS)
CLOCK = st.times() | st.times(timezones=st.just(UTC))
ACCESS = st.integers(0, 3).map(Access)
ITEM = st.builds(Item, sku=TEXT, price=PRICE, tags=st.frozensets(TEXT, max_size=2))
PLANE, SHIP = st.builds(Plane, wings=NUMBER), st.builds(Ship)
TREE = st.recursive(
    st.builds(Tree, value=NUMBER, left=st.none(), right=st.none()),
    lambda inner: st.builds(Tree, value=NUMBER, left=inner, right=st.none() | inner),
    max_leaves=4,
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT | REAL,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


def some(values: st.SearchStrategy[T]) -> st.SearchStrategy[list[T]]:
    return st.lists(values, max_size=2)


def by(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(keys, values, max_size=2)


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "number": NUMBER,
    "real": REAL,
    "price": PRICE,
    "at": AT,
    "clock": CLOCK,
    "access": ACCESS,
}
RECORDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Scalars: st.builds(Scalars, **SCALARS),
    Nested: st.builds(
        Nested,
        item=ITEM,
        items=some(ITEM),
        by_name=by(TEXT, st.none() | ITEM),
        by_number=by(NUMBER, some(st.sampled_from(Size))),
        pair=st.tuples(NUMBER, st.dates()),
        many=some(PRICE).map(tuple),
        point=st.builds(Point, NUMBER, REAL),
        named=st.fixed_dictionaries({"name": TEXT, "age": NUMBER}),
        words=st.builds(Words, some(TEXT)),
    ),
    Unions: st.builds(
        Unions,
        plain=NUMBER | TEXT | st.none(),
        wide=st.booleans() | NUMBER | REAL | some(NUMBER) | by(TEXT, NUMBER),
        money=PRICE | REAL,
        tagged=PLANE | SHIP,
        either=PLANE | SHIP | ITEM,
    ),
    Camel: st.builds(Camel, orderId=NUMBER, createdAt=AT, lineItems=some(ITEM)),
    Box[date]: st.builds(Box[date], value=st.dates(), others=some(st.dates())),
    Box[Item]: st.builds(Box[Item], value=ITEM, others=some(ITEM)),
    Tree: TREE,
    Raw: st.builds(Raw, by_name=by(TEXT, st.binary() | NUMBER), at=st.none() | AT),
    Own: st.builds(
        Own,
        number=st.complex_numbers(allow_nan=False),
        mapping=by(TEXT, NUMBER),
        sequence=some(st.dates()),
        anything=JSON,
    ),
    Strict: st.builds(Strict, at=AT),
    Data: st.builds(Data, NUMBER, AT, some(ITEM), st.none() | TEXT),
    Slotted: st.builds(Slotted, number=NUMBER, at=AT),
    Checked: st.builds(Checked, number=NUMBER, Colour=st.sampled_from(Colour)),
    Struct: st.builds(
        Struct,
        order_id=NUMBER,
        real=REAL,
        price=PRICE,
        at=AT,
        by_size=by(st.sampled_from(Size), NUMBER),
        by_number=by(NUMBER, TEXT),
        pair=st.tuples(NUMBER, st.dates()),
    ),
    Native: st.builds(Native, **SCALARS, renamed=NUMBER, note=st.none() | TEXT),
}
#: Values of which some cannot travel, in fields that take them all.
WILD = st.one_of(
    *(st.integers(), st.floats(), st.binary(), st.decimals(), st.from_type(Size), ACCESS, AT),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=3),
    st.datetimes(timezones=st.just(ZoneInfo("Europe/Berlin"))),
    st.datetimes(timezones=st.integers(-9, 9).map(lambda each: timezone(timedelta(0, each)))),
    st.tuples(st.integers()),
    st.sets(st.integers(), max_size=2),
    st.dictionaries(st.integers(0, 2) | st.sampled_from("012"), st.none(), max_size=2),
    some(ITEM),
)
