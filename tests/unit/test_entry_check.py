"""A record that would be read back differently is refused when it is sent, by its field."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import pytest
from pydantic import Field, PrivateAttr

from runnel.codec.compressors import LZ4
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import EncodeError
from runnel.record import Record, adapt


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


class Lossy:
    """A serializer of the user's that has no fractions."""

    name = "lossy"

    def dumps(self, value: dict[str, Any]) -> bytes:
        rounded = {k: int(v) if isinstance(v, float) else v for k, v in value.items()}
        return MsgpackSerializer().dumps(rounded)

    def loads(self, data: bytes | memoryview) -> Any:
        return MsgpackSerializer().loads(data)


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
