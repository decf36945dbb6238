"""Codec tags, compression and headers; an entry that is not a record is refused with the reason."""

from __future__ import annotations

import contextlib
import enum
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import ConfigError, DecodeError, EncodeError
from runnel.record import Record, adapt


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Item(Record):
    sku: str


class Order(Record):
    order_id: int
    at: datetime
    price: Decimal
    key: UUID
    size: Size
    item: Item
    items: list[Item] = []
    note: str | None = None


class Plain(Record):
    text: str


class Native(Record, primitive=True):
    text: str
    order_id: int
    raw: bytes = b""
    size: Size | None = None


class Reversed:
    """A serializer of the user's own."""

    name = "reversed"

    def dumps(self, value: dict[str, Any]) -> bytes:
        return MsgpackSerializer().dumps(value)[::-1]

    def loads(self, data: bytes | memoryview) -> Any:
        return MsgpackSerializer().loads(bytes(data)[::-1])


class Broken:
    name = "broken"

    def dumps(self, value: dict[str, Any]) -> bytes:
        raise KeyError("dumps")

    def loads(self, data: bytes | memoryview) -> Any:
        raise KeyError("loads")


def plain_codec(
    serializer: Serializer | None = None, compressor: Compressor | None = None, **options: Any
) -> EntryCodec[Plain]:
    return EntryCodec(adapt(Plain), serializer or MsgpackSerializer(), compressor, **options)


READER = plain_codec()
ORDERS = EntryCodec(adapt(Order), MsgpackSerializer())
NATIVE = EntryCodec(adapt(Native), MsgpackSerializer())
LONG = Plain(text="long " * 200)


def test_an_entry_is_its_codec_and_its_payload() -> None:
    assert READER.encode(Plain(text="a")) == [b"msgpack", b"\x81\xa4text\xa1a"]
    assert plain_codec(JSONSerializer()).encode(Plain(text="a")) == [b"json", b'{"text":"a"}']


@pytest.mark.parametrize("serializer", [MsgpackSerializer(), JSONSerializer()])
@pytest.mark.parametrize("compressor", [None, LZ4(), Gzip()])
def test_a_reader_needs_no_configuration(
    serializer: Serializer, compressor: Compressor | None
) -> None:
    entry = plain_codec(serializer, compressor).encode(LONG)
    expected = serializer.name + (f"+{compressor.name}" if compressor else "")
    assert entry[0] == expected.encode()
    assert READER.decode(entry) == READER.decode(entry) == LONG


orders = st.builds(
    Order,
    order_id=st.integers(-(2**63), 2**64 - 1),
    at=st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    items=st.lists(st.builds(Item), max_size=3),
)


@given(orders, st.sampled_from([MsgpackSerializer(), JSONSerializer()]))
def test_a_record_comes_back_as_it_was(order: Order, serializer: Serializer) -> None:
    back = ORDERS.decode(EntryCodec(adapt(Order), serializer).encode(order))
    assert back == order
    assert str(back.price) == str(order.price)
    assert back.at.tzinfo == order.at.tzinfo


def test_only_payloads_over_the_threshold_are_compressed() -> None:
    codec = plain_codec(compressor=LZ4(), compress_over=100)
    assert codec.encode(Plain(text="x" * 90))[0] == b"msgpack"
    assert codec.encode(Plain(text="x" * 900))[0] == b"msgpack+lz4"


def test_a_payload_that_does_not_shrink_is_stored_as_it_is() -> None:
    unruly = "".join(chr(33 + i * i % 89) for i in range(20))
    assert plain_codec(compressor=Gzip(), compress_over=0).encode(Plain(text=unruly))[0] == (
        b"msgpack"
    )


def test_a_custom_serializer_is_read_where_it_is_known() -> None:
    entry = plain_codec(Reversed()).encode(LONG)
    assert plain_codec(known=[Reversed()]).decode(entry) == LONG
    with pytest.raises(DecodeError, match=r"'reversed'.*another program.*custom serializer"):
        READER.decode(entry)


def test_whatever_a_custom_serializer_raises_is_an_error_of_its_own_kind() -> None:
    codec = plain_codec(Broken())
    with pytest.raises(EncodeError, match=r"Plain\.text: 'dumps'"):
        codec.encode(LONG)
    with pytest.raises(DecodeError, match="not valid broken: 'loads'"):
        codec.decode([b"broken", b""])


@pytest.mark.parametrize("name", ["", "fields", "a+b", "@a", "Upper", "9a", "a b", "é"])
def test_a_serializer_whose_name_cannot_be_a_tag_is_refused(name: str) -> None:
    serializer = Reversed()
    serializer.name = name
    with pytest.raises(ConfigError, match="start it with a lower-case letter"):
        plain_codec(serializer)


def test_headers_come_after_the_payload() -> None:
    entry = READER.encode(Plain(text="a"), {"traceparent": "00-ä"})
    assert entry[2:] == [b"@traceparent", "00-ä".encode()]
    assert READER.headers(entry) == {"traceparent": "00-ä"}
    assert READER.decode(entry) == Plain(text="a")


def test_a_header_that_is_no_text_is_refused() -> None:
    for value in (1, b"x", "\ud800"):
        with pytest.raises(EncodeError, match="header 'n'"):
            READER.encode(LONG, {"n": value})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([], "is empty"),
        ([b"msgpack"], "half a field"),
        ([b"msgpack", b"\x80", b"@a"], "half a field"),
        ([b"field", b"value"], "'field'.*another program"),
        ([b"", b""], "another program"),
        ([b"\xff", b""], "another program"),
        ([b"msgpack+", b"\x80"], "another program"),
        ([b"msgpack+zip", b"\x80"], "another program"),
        ([b"lz4", b"\x80"], "another program"),
        ([b"@a", b"b"], "another program"),
        ([b"msgpack", b""], "not valid msgpack"),
        ([b"msgpack", b"\xc1"], "not valid msgpack"),
        ([b"msgpack", b"\x80\x80"], "not valid msgpack"),
        ([b"msgpack", b"\x81\x01\x02"], "not valid msgpack"),
        ([b"msgpack", b"\x91" * 5000 + b"\x80"], "not valid msgpack"),
        ([b"msgpack", "text"], "not valid msgpack"),
        ([b"msgpack", None], "not valid msgpack"),
        ([b"json", b"{"], "not valid json"),
        ([b"json", b"[" * 100_000], "not valid json"),
        ([b"json+gzip", b"{}"], "not valid json.gzip: the payload is not valid gzip"),
        ([b"msgpack+lz4", b"\x80"], "not valid msgpack.lz4: the payload is not valid lz4"),
        ([b"msgpack", b"\x90"], "is a list, not a map"),
        ([b"json", b"null"], "is a NoneType, not a map"),
        ([b"msgpack", b"\x80"], "Plain.text: missing"),
        ([b"json", b'{"text":1}'], "Plain.text: expected a string, got 1"),
        (["msgpack", "x"], "decode_responses"),
        ([["a"], b"x"], "fields are list, not bytes"),
        ([b"fields", b"2", b"text", b"a"], "newer Runnel"),
        ([b"fields", b"1", b"\xff", b"a"], "fields are not valid"),
        ([b"fields", b"1", "text", "a"], "fields are not valid"),
        ([b"fields", b"1", b"text", b"\xff"], "Plain.text: expected a string"),
        ([b"fields", b"1"], "Plain.text: missing"),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(entry: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        READER.decode(entry)


TAGS = st.sampled_from(
    [b"msgpack", b"json", b"msgpack+lz4", b"json+gzip", b"fields", b"1", b"text", b"@a"]
)
VALUES = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9) | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
FIELDS = TAGS | st.binary(max_size=40) | VALUES.map(msgpack.packb)


@given(st.lists(FIELDS, max_size=6) | st.lists(FIELDS | st.text() | st.none(), max_size=4))
def test_noise_raises_nothing_but_decode_errors(entry: list[Any]) -> None:
    for codec in (READER, NATIVE, ORDERS):
        with contextlib.suppress(DecodeError):
            codec.decode(entry)


@given(VALUES)
def test_a_payload_of_any_shape_raises_nothing_but_decode_errors(value: Any) -> None:
    payload = msgpack.packb({"order_id": value, "at": value, "text": value, "items": value})
    for codec in (READER, NATIVE, ORDERS):
        with contextlib.suppress(DecodeError):
            codec.decode([b"msgpack", payload])


def test_an_integer_over_64_bits_is_refused_with_the_record_named() -> None:
    class Count(Record):
        number: int

    codec = EntryCodec(adapt(Count), MsgpackSerializer())
    with pytest.raises(EncodeError, match=r"Count\.number: msgpack holds integers of up to 64"):
        codec.encode(Count(number=2**64))


class Struct(msgspec.Struct):
    a: int
    raw: bytes = b""


def test_a_struct_travels_as_any_other_record() -> None:
    codec = EntryCodec(adapt(Struct), MsgpackSerializer())
    assert codec.decode(codec.encode(Struct(1, b"\xff"))) == Struct(1, b"\xff")
    with pytest.raises(DecodeError, match=r"Struct\.a: missing"):
        codec.decode([b"msgpack", b"\x80"])
