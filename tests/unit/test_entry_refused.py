"""An entry that is not a record is refused with the reason, and only with a DecodeError."""

from __future__ import annotations

import contextlib
import enum
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel.codec.compressors import Compressor
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer, Serializer
from runnel.errors import DecodeError, EncodeError
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


class Flat(Record, primitive=True):
    name: str
    count: int
    share: float
    yes: bool
    at: datetime
    note: str | None = None


@dataclass
class Data:
    name: str
    at: datetime


class Struct(msgspec.Struct):
    name: str
    at: datetime


def codec(cls: type[Any], serializer: Serializer | None = None, **options: Any) -> EntryCodec[Any]:
    return EntryCodec(adapt(cls), serializer or MsgpackSerializer(), **options)


READERS = [codec(cls) for cls in (Order, Flat, Data, Struct)]


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
        ([b"msgpack", b"\x90"], "is list, not a map"),
        ([b"json", b"null"], "is NoneType, not a map"),
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


def test_whatever_a_custom_serializer_raises_is_an_error_of_its_own_kind() -> None:
    codec = plain_codec(Broken())
    with pytest.raises(EncodeError, match=r"Plain\.text: 'dumps'"):
        codec.encode(LONG)
    with pytest.raises(DecodeError, match="not valid broken: 'loads'"):
        codec.decode([b"broken", b""])


def test_an_integer_over_64_bits_is_refused_with_the_record_named() -> None:
    class Count(Record):
        number: int

    codec = EntryCodec(adapt(Count), MsgpackSerializer())
    with pytest.raises(EncodeError, match=r"Count\.number: msgpack holds integers of up to 64"):
        codec.encode(Count(number=2**64))


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


@given(st.lists(st.binary(max_size=40), max_size=8), st.sampled_from(READERS))
def test_any_bytes_are_read_or_refused(entry: list[bytes], reader: EntryCodec[Any]) -> None:
    for tags in ([], [b"msgpack"], [b"json+lz4"], [b"fields"]):
        with contextlib.suppress(DecodeError):
            reader.decode([*tags, *entry])


def test_a_long_tag_is_shown_in_part() -> None:
    with pytest.raises(DecodeError, match=r"field 'x{80}', which names no serializer"):
        READER.decode([b"x" * 999, b""])


def test_an_entry_with_more_fields_than_the_scripts_take_is_refused() -> None:
    codec = EntryCodec(adapt(Item), MsgpackSerializer())
    headers = {f"h{number}": "x" for number in range(499)}
    assert len(codec.encode(Item(sku="a"), headers)) == 1000
    with pytest.raises(EncodeError, match=r"Item takes 501 fields .* an entry has at most 500"):
        codec.encode(Item(sku="a"), {**headers, "more": "x"})
