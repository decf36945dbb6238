"""A record that would be read back differently is refused when it is sent, with the name of the
field."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
)

from runnel.codec.compressors import LZ4
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import EncodeError
from runnel.record import Record, adapt

BERLIN = ZoneInfo("Europe/Berlin")
#: Under a name that no field has.
Clock = time


def sent(record: Any, serializer: Serializer | None = None, **options: Any) -> Any:
    """The record that a reader gets."""
    codec = EntryCodec(adapt(type(record)), serializer or MsgpackSerializer(), **options)
    return EntryCodec(adapt(type(record)), MsgpackSerializer()).decode(codec.encode(record))


class Item(Record):
    sku: str
    amount: int = Field(default=1, gt=0)


class Special(Item):
    colour: str = "red"


class Order(Record):
    item: Item
    at: datetime | None = None
    price: float = 1.0
    _note: str = PrivateAttr("")


class Flat(Record, primitive=True):
    amount: int
    share: float = 0.5
    name: str | None = None
    raw: bytes = b""


@dataclasses.dataclass
class Data:
    amount: int
    at: datetime | None = None


class Struct(msgspec.Struct):
    amount: int
    anything: Any = None


def order(**changes: Any) -> Order:
    return Order(**{"item": Item(sku="a"), **changes})


def changed(record: Any, **values: Any) -> Any:
    """pydantic does not check what is assigned later."""
    for name, value in values.items():
        setattr(record, name, value)
    return record


class TestValuesThatWereNeverChecked:
    @pytest.mark.parametrize(
        ("record", "says"),
        [
            (changed(order(), price="x"), 'Order.price: expected a number, got "x"'),
            (changed(order(), price="5"), "Order.price: '5' would come back as 5.0"),
            (order(item=changed(Item(sku="a"), amount=0)), "Order.item.amount: expected"),
            (Order.model_construct(price=1.0), "Order.item: missing"),
            (changed(Flat(amount=1), amount="x"), 'Flat.amount: expected an integer, got "x"'),
            (changed(Flat(amount=1), amount=True), 'Flat.amount: expected an integer, got "true"'),
            (changed(Flat(amount=1), amount=None), "Flat.amount: missing"),
            (Data("x"), 'Data.amount: expected an integer, got "x"'),  # type: ignore[arg-type]
            (Data("5"), "Data.amount: '5' would come back as 5"),  # type: ignore[arg-type]
            (Data(1, date(2024, 1, 2)), "Data.at: datetime.date(2024, 1, 2) would come back as"),  # type: ignore[arg-type]
            (Struct("x"), 'Struct.amount: expected int, got "x"'),  # type: ignore[arg-type]
            (Struct(True), "Struct.amount: expected int, got true"),
        ],
    )
    def test_they_are_refused_with_the_field_and_the_value(self, record: Any, says: str) -> None:
        with pytest.raises(EncodeError) as caught:
            sent(record)
        assert f"{type(record).__name__} cannot be written" in str(caught.value)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_one_that_means_the_same_is_let_through(self) -> None:
        assert sent(changed(order(), price=2)).price == 2


class TestTypesThatAreWiderThanTheWire:
    @pytest.mark.parametrize(
        "value",
        [(1, 2), {1: 2}, date(2024, 1, 2), Item(sku="a"), [{"a": {3}}]],
        ids=repr,
    )
    @pytest.mark.parametrize("serializer", [MsgpackSerializer(), JSONSerializer()])
    def test_a_value_whose_type_is_not_declared_is_refused_if_it_would_change(
        self, value: Any, serializer: Serializer
    ) -> None:
        class Loose(Record):
            value: Any

        class Open(Record, extra="allow"):
            pass

        for record in (Loose(value=value), Open(value=value), Struct(1, value)):  # type: ignore[call-arg]
            with pytest.raises(EncodeError, match=r"would come back as|unsupported"):
                sent(record, serializer)

    def test_a_value_that_does_not_change_is_let_through(self) -> None:
        class Open(Record, extra="allow"):
            a: int

        record = Open(a=1, b=[1, {"c": None}], d=b"\xff", e=1.5)  # type: ignore[call-arg]
        assert sent(record) == record

    def test_a_nested_record_of_a_subclass_is_refused_as_its_fields_would_be_lost(self) -> None:
        with pytest.raises(EncodeError, match=r"Order\.item: Special\(.*would come back as Item\("):
            sent(order(item=Special(sku="a")))

    def test_keys_that_become_one_text_are_refused(self) -> None:
        class Keyed(Record):
            by: dict[Any, int]

        with pytest.raises(EncodeError, match=r"Keyed\.by: .* would come back as"):
            sent(Keyed(by={1: 1, "1": 2}))

    def test_half_a_surrogate_pair_is_refused(self) -> None:
        class Loose(Record):
            text: Any

        for serializer in (MsgpackSerializer(), JSONSerializer()):
            with pytest.raises(EncodeError, match="surrogates"):
                sent(Loose(text="\ud800"), serializer)


class TestMoments:
    @pytest.mark.parametrize("fold", [0, 1])
    def test_an_hour_that_there_is_twice_keeps_its_offset(self, fold: int) -> None:
        at = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=fold)
        back = sent(order(at=at)).at
        assert back.utcoffset() == at.utcoffset() == timedelta(hours=2 - fold)
        assert back.replace(tzinfo=None) == at.replace(tzinfo=None)

    @pytest.mark.parametrize("kind", [order, lambda at: Data(1, at), lambda at: Struct(1)])
    def test_an_offset_with_seconds_is_refused(self, kind: Callable[..., Any]) -> None:
        odd = datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=1, seconds=3)))

        class Timed(msgspec.Struct):
            at: datetime

        record = kind(at=odd)
        record = Timed(odd) if isinstance(record, Struct) else record
        with pytest.raises(EncodeError, match=r"\.at: .*would come back as"):
            sent(record)


CLOCK = time(12, 4, tzinfo=BERLIN)


class Timed(Record):
    at: Any = None
    time: Clock | None = None
    many: list[Clock] = []
    by: dict[str, tuple[Clock, ...]] = {}
    hours: set[Clock] = set()
    keyed: dict[Clock, int] = {}
    after: Annotated[Any, AfterValidator(lambda it: time.fromisoformat(it) if it else it)] = None
    inner: Timed | None = None


@dataclasses.dataclass
class DataTimed:
    at: Clock


class StructTimed(msgspec.Struct):
    at: Clock | None = None
    many: list[Clock] = []
    by: dict[str, Clock] = {}
    inner: StructTimed | None = None
    data: DataTimed | None = None


class NativeTimed(Record, primitive=True):
    at: Clock


class TestTimesOfDay:
    @pytest.mark.parametrize(
        ("record", "path"),
        [
            (Timed(time=CLOCK), "Timed.time"),
            (Timed(many=[time(1), CLOCK]), "Timed.many[1]"),
            (Timed(by={"a": (CLOCK,)}), "Timed.by.a[0]"),
            (Timed(hours={CLOCK}), "Timed.hours"),
            (Timed(keyed={CLOCK: 1}), "Timed.keyed"),
            (Timed(inner=Timed(time=CLOCK)), "Timed.inner.time"),
            (changed(Timed(), after=CLOCK), "Timed.after"),
            (DataTimed(CLOCK), "DataTimed.at"),
            (NativeTimed(at=CLOCK), "NativeTimed.at"),
            (StructTimed(CLOCK), "StructTimed.at"),
            (StructTimed(many=[CLOCK]), "StructTimed.many[0]"),
            (StructTimed(by={"a b": CLOCK}), "StructTimed.by['a b']"),
            (StructTimed(inner=StructTimed(CLOCK)), "StructTimed.inner.at"),
            (StructTimed(data=DataTimed(CLOCK)), "StructTimed.data.at"),
        ],
    )
    def test_one_that_would_lose_its_zone_is_refused(self, record: Any, path: str) -> None:
        with pytest.raises(EncodeError, match=rf"{re.escape(path)}: .*would come back as"):
            sent(record)

    @pytest.mark.parametrize("at", [time(1), time(1, tzinfo=UTC), time(1, tzinfo=timezone.min)])
    @pytest.mark.parametrize(
        "made",
        [
            lambda at: Timed(time=at, many=[at], hours={at}, keyed={at: 1}),
            lambda at: StructTimed(at, [at]),
            DataTimed,
            lambda at: NativeTimed(at=at),
        ],
    )
    def test_one_without_or_of_a_fixed_offset_comes_back(
        self, made: Callable[..., Any], at: time
    ) -> None:
        assert sent(made(at)) == made(at)


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


class TestWhatIsNoPartOfARecord:
    def test_private_attributes_do_not_travel_and_do_not_matter(self) -> None:
        record = order()
        record._note = "mine"
        assert sent(record)._note == ""

    def test_computed_and_cached_values_do_not_matter(self) -> None:
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
    def test_a_dataclass_without_equality_is_compared_by_its_fields(self, slots: bool) -> None:
        kind = dataclasses.make_dataclass("Bare", [("a", int)], eq=False, slots=slots)
        assert sent(kind(1)).a == 1

    def test_a_struct_with_its_own_equality_is_compared_by_its_fields(self) -> None:
        class Same(msgspec.Struct):
            a: Any

            def __eq__(self, other: object) -> bool:
                return True

        assert sent(Same(1)).a == 1
        with pytest.raises(EncodeError, match=r"Same\.a: \(1,\) would come back as \[1\]"):
            sent(Same((1,)))

    def test_a_value_made_behind_init_comes_back_if_it_is_made_again(self) -> None:
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


class Lossy:
    """A serializer of the user's that has no fractions."""

    name = "lossy"

    def dumps(self, value: dict[str, Any]) -> bytes:
        rounded = {k: int(v) if isinstance(v, float) else v for k, v in value.items()}
        return MsgpackSerializer().dumps(rounded)

    def loads(self, data: bytes | memoryview) -> Any:
        return MsgpackSerializer().loads(data)


class TestSerializersAndCompressors:
    def test_what_a_serializer_loses_is_found(self) -> None:
        codec = EntryCodec(adapt(Order), Lossy())
        assert codec.decode(codec.encode(order(price=2.0))) == order(price=2.0)
        with pytest.raises(EncodeError, match=r"Order\.price: 1\.5 would come back as 1\.0"):
            codec.encode(order(price=1.5))

    def test_a_payload_too_large_to_be_read_is_not_written(self) -> None:
        small = LZ4(max_decompressed=1000)
        codec = EntryCodec(adapt(Item), MsgpackSerializer(), small)
        with pytest.raises(EncodeError, match="larger than 1000 bytes when decompressed"):
            codec.encode(Item(sku="x" * 2000))

    @pytest.mark.parametrize(
        ("serializer", "fine", "deep"),
        [(MsgpackSerializer(), 250, 1500), (JSONSerializer(), 199, 250)],
    )
    def test_what_is_nested_deeper_than_can_be_read_is_not_written(
        self, serializer: Serializer, fine: int, deep: int
    ) -> None:
        class Loose(Record):
            value: Any

        def nested(depth: int) -> Loose:
            value: Any = "bottom"
            for _ in range(depth):
                value = [value]
            return Loose(value=value)

        read: Any = sent(nested(fine), serializer).value
        while isinstance(read, list):
            (read,) = read
        assert read == "bottom"
        with pytest.raises(EncodeError, match=r"depth|recursion"):
            sent(nested(deep), serializer)

    def test_an_integer_with_more_digits_than_python_reads_is_not_written(self) -> None:
        class Count(Record):
            number: int

        with pytest.raises(EncodeError, match=r"4300 digits"):
            sent(Count(number=10**4400), JSONSerializer())
        with pytest.raises(EncodeError, match=r"4300 digits"):
            sent(Flat(amount=10**4400))


def test_infinities_and_nan_come_back_where_they_can() -> None:
    for value in (float("inf"), float("nan")):
        assert repr(sent(order(price=value)).price) == repr(value)
        assert repr(sent(Flat(amount=1, share=value)).share) == repr(value)
        with pytest.raises(EncodeError, match="JSON"):
            sent(order(price=value), JSONSerializer())


def test_naive_and_aware_moments_stay_what_they_are() -> None:
    for at in (datetime(2024, 1, 2), datetime(2024, 1, 2, tzinfo=UTC)):
        assert sent(order(at=at)).at == at
