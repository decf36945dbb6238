"""Records and their wire form."""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runnel import LZ4, Compressor, Gzip, JSONSerializer, MsgpackSerializer, Record, Serializer
from runnel.codec.entry import EntryCodec
from runnel.errors import ConfigError, DecodeError, EncodeError, RecordError
from runnel.record import adapt


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


def test_a_wrong_value_is_refused_when_the_record_is_made_with_the_fields_name() -> None:
    with pytest.raises(ValidationError, match="order_id"):
        Order(order_id="x", at=AT, key=UUID(int=7), colour=Colour.RED, lines=[])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ([], "empty"),
        ([b"msgpack"], "empty"),
        ([b"msgpack", b"\xc1"], "not valid msgpack"),
        ([b"json", b"{"], "not valid json"),
        ([b"json", b"[1]"], "list, not a map"),
        ([b"msgpack+lz4", b"junk"], "not valid lz4"),
        ([b"msgpack+gzip", b"junk"], "not valid msgpack"),
        ([b"msgpack+rar", b"x"], "another program"),
        ([b"hello", b"world"], "another program"),
        ([b"json", b'{"order_id": "x"}'], "Order.order_id"),
    ],
)
def test_an_unreadable_entry_raises_nothing_but_decode_error(entry: list[bytes], says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        codec(Order).decode(entry)


READERS = [codec(cls) for cls in (Order, Flat, Plain, Struct)]


@given(st.lists(st.binary(max_size=40), max_size=8), st.sampled_from(READERS))
def test_any_bytes_are_read_or_refused(entry: list[bytes], reader: EntryCodec[Any]) -> None:
    for tags in ([], [b"msgpack"], [b"json+lz4"], [b"fields"]):
        with contextlib.suppress(DecodeError):
            reader.decode([*tags, *entry])


def test_json_is_the_same_bytes_with_and_without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"a": 'ż"\n/', "b": [1, None, True, {"c": -(2**62)}], "e": ""}
    fast = JSONSerializer().dumps(values)
    monkeypatch.setattr("runnel.codec.serializers._orjson", lambda: None)
    assert JSONSerializer().dumps(values) == fast


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes"])
def test_json_refuses_what_it_cannot_hold(value: Any) -> None:
    with pytest.raises(EncodeError):
        JSONSerializer().dumps({"a": value})


def test_msgpack_refuses_an_integer_over_64_bits() -> None:
    with pytest.raises(EncodeError):
        MsgpackSerializer().dumps({"a": 2**64})


def test_another_class_is_refused_by_name() -> None:
    with pytest.raises(EncodeError, match="Order records, not Flat"):
        codec(Order).encode(Flat(name="n", count=1, share=0.5, yes=False, at=AT))


def test_json_for_the_command_line_names_every_bad_field() -> None:
    with pytest.raises(RecordError, match=r"Line\.sku: .*; Line\.price: "):
        adapt(Line).from_json('{"price": "x"}')
    with pytest.raises(RecordError, match="Invalid JSON"):
        adapt(Line).from_json("{")


@pytest.mark.parametrize("cls", [int, dict, "Order"])
def test_what_is_no_record_class_is_refused(cls: Any) -> None:
    with pytest.raises(ConfigError, match=r"runnel\.Record"):
        adapt(cls)
