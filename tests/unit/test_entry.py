"""A record becomes an entry that names its serializer and compressor, and carries its headers."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import ConfigError, DecodeError, EncodeError
from runnel.record import Record, adapt
from tests.unit.one_field import with_field


class Text(Record):
    text: str


class Reversed:
    """A serializer of the user's own."""

    name = "reversed"

    def dumps(self, value: dict[str, Any]) -> bytes:
        return MsgpackSerializer().dumps(value)[::-1]

    def loads(self, data: bytes | memoryview) -> Any:
        return MsgpackSerializer().loads(bytes(data)[::-1])


def plain_codec(
    serializer: Serializer | None = None, compressor: Compressor | None = None, **options: Any
) -> EntryCodec[Text]:
    return EntryCodec(adapt(Text), serializer or MsgpackSerializer(), compressor, **options)


READER = plain_codec()
LONG = Text(text="long " * 200)


class Colour(enum.Enum):
    RED = "red"


class Line(Record):
    sku: str
    price: Decimal


class Order(Record):
    order_id: int
    at: datetime
    key: UUID
    colour: Colour
    lines: list[Line]
    note: str | None = None


class Flat(Record, primitive=True):
    name: str
    count: int
    share: float
    yes: bool
    at: datetime
    note: str | None = None


@dataclass
class Plain:
    name: str
    at: datetime


class Struct(msgspec.Struct):
    name: str
    at: datetime


AT = datetime(2026, 11, 24, 3, 0, 0, 123456, tzinfo=UTC)
ORDER = Order(
    order_id=1,
    at=AT,
    key=UUID(int=7),
    colour=Colour.RED,
    lines=[Line(sku="a", price=Decimal("1.10"))],
)


def codec(cls: type[Any], serializer: Serializer | None = None, **options: Any) -> EntryCodec[Any]:
    return EntryCodec(adapt(cls), serializer or MsgpackSerializer(), **options)


def test_an_entry_is_its_codec_and_its_payload() -> None:
    assert READER.encode(Text(text="a")) == [b"msgpack", b"\x81\xa4text\xa1a"]
    assert plain_codec(JSONSerializer()).encode(Text(text="a")) == [b"json", b'{"text":"a"}']


def test_an_entry_says_by_itself_how_to_read_it() -> None:
    long = ORDER.model_copy(update={"note": "x" * 1000})
    assert codec(Order).encode(ORDER)[0] == b"msgpack"
    assert codec(Order, JSONSerializer(), compressor=Gzip()).encode(long)[0] == b"json+gzip"
    assert codec(Order, compressor=LZ4(), compress_over=5000).encode(long)[0] == b"msgpack"
    flat = codec(Flat).encode(Flat(name="n", count=1, share=0.5, yes=False, at=AT))
    assert dict(zip(flat[::2], flat[1::2], strict=True)) == {
        b"fields": b"1",
        b"name": b"n",
        b"count": b"1",
        b"share": b"0.5",
        b"yes": b"false",
        b"at": b"2026-11-24T03:00:00.123456Z",
    }


@pytest.mark.parametrize(
    "record",
    [
        ORDER,
        Flat(name="ż", count=-1, share=0.1, yes=True, at=AT),
        Plain("p", AT),
        Struct("s", AT),
    ],
)
@pytest.mark.parametrize("serializer", [MsgpackSerializer(), JSONSerializer()])
@pytest.mark.parametrize("compressor", [None, LZ4(), Gzip()])
def test_a_record_comes_back_as_it_was(
    record: Any, serializer: Serializer, compressor: Compressor | None
) -> None:
    writer = codec(type(record), serializer, compressor=compressor, compress_over=0)
    reader = codec(type(record))
    assert reader.decode(writer.encode(record)) == record


@pytest.mark.parametrize("serializer", [MsgpackSerializer(), JSONSerializer()])
@pytest.mark.parametrize("compressor", [None, LZ4(), Gzip()])
def test_a_reader_needs_no_configuration(
    serializer: Serializer, compressor: Compressor | None
) -> None:
    entry = plain_codec(serializer, compressor).encode(LONG)
    expected = serializer.name + (f"+{compressor.name}" if compressor else "")
    assert entry[0] == expected.encode()
    assert READER.decode(entry) == READER.decode(entry) == LONG


def test_only_payloads_over_the_threshold_are_compressed() -> None:
    codec = plain_codec(compressor=LZ4(), compress_over=100)
    assert codec.encode(Text(text="x" * 90))[0] == b"msgpack"
    assert codec.encode(Text(text="x" * 900))[0] == b"msgpack+lz4"


def test_a_payload_that_does_not_shrink_is_stored_as_it_is() -> None:
    unruly = "".join(chr(33 + i * i % 89) for i in range(20))
    assert plain_codec(compressor=Gzip(), compress_over=0).encode(Text(text=unruly))[0] == (
        b"msgpack"
    )


def test_a_custom_serializer_is_read_where_it_is_known() -> None:
    entry = plain_codec(Reversed()).encode(LONG)
    assert plain_codec(known=[Reversed()]).decode(entry) == LONG
    with pytest.raises(DecodeError, match=r"'reversed'.*another program.*custom serializer"):
        READER.decode(entry)


@pytest.mark.parametrize("name", ["", "fields", "a+b", "@a", "Upper", "9a", "a b", "é"])
def test_a_serializer_whose_name_cannot_be_a_tag_is_refused(name: str) -> None:
    serializer = Reversed()
    serializer.name = name
    with pytest.raises(ConfigError, match="start it with a lower-case letter"):
        plain_codec(serializer)


def test_headers_come_after_the_payload() -> None:
    entry = READER.encode(Text(text="a"), {"traceparent": "00-ä"})
    assert entry[2:] == [b"@traceparent", "00-ä".encode()]
    assert READER.headers(entry) == {"traceparent": "00-ä"}
    assert READER.decode(entry) == Text(text="a")


def test_a_header_that_is_no_text_is_refused() -> None:
    for value in (1, b"x", "\ud800"):
        with pytest.raises(EncodeError, match="header 'n'"):
            READER.encode(LONG, {"n": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("headers", ["x", [("a", "b")], {"a": 1}, {1: "a"}, {"a": None}])
def test_headers_that_are_no_map_of_text_are_refused(headers: Any) -> None:
    with pytest.raises(EncodeError, match="headers must be"):
        codec(Order).encode(ORDER, headers)


def test_headers_travel_beside_the_payload() -> None:
    it = codec(Order)
    entry = it.encode(ORDER, {"traceparent": "00-1"})
    assert it.headers(entry) == {"traceparent": "00-1"}
    assert it.decode(entry) == ORDER


def test_a_schema_may_gain_and_lose_an_optional_field() -> None:
    class Old(Record):
        name: str

    class New(Record):
        name: str
        age: int | None = None

    assert codec(New).decode(codec(Old).encode(Old(name="n"))) == New(name="n")
    assert codec(Old).decode(codec(New).encode(New(name="n", age=3))) == Old(name="n")


def test_another_class_is_refused_by_name() -> None:
    with pytest.raises(EncodeError, match="Order records, not Flat"):
        codec(Order).encode(Flat(name="n", count=1, share=0.5, yes=False, at=AT))


def test_json_and_bytes_are_refused_together() -> None:
    class Inner(Record):
        raw: bytes | None = None

    with pytest.raises(ConfigError, match=r"^Inner\.raw has bytes, which JSON cannot hold"):
        EntryCodec(adapt(with_field(list[Inner])), JSONSerializer())
    EntryCodec(adapt(with_field(list[Inner])), MsgpackSerializer())
    EntryCodec(adapt(with_field(bytes, primitive=True)), JSONSerializer())
