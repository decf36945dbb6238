"""Primitive records: each field is stored as a field of the stream entry."""

from __future__ import annotations

import enum
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.errors import DecodeError, EncodeError
from runnel.record import Record, adapt


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Colour(enum.StrEnum):
    RED = "red"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


class Native(Record, primitive=True):
    text: str
    whole: int
    real: float
    yes: bool
    raw: bytes
    at: datetime
    price: Decimal
    key: UUID
    size: Size
    colour: Colour
    access: Access
    note: str | None
    day: date | None = None


NATIVE = Native(
    text="zażółć",
    whole=-7,
    real=1e16,
    yes=True,
    raw=b"\xff\x00",
    at=datetime(2024, 1, 2, tzinfo=UTC),
    price=Decimal("1.10"),
    key=UUID(int=1),
    size=Size.LARGE,
    colour=Colour.RED,
    access=Access.READ | Access.WRITE,
    note=None,
)


NATIVE_CODEC = EntryCodec(adapt(Native), MsgpackSerializer())


def test_a_primitive_record_is_stored_field_by_field() -> None:
    entry = NATIVE_CODEC.encode(NATIVE)
    assert entry[:2] == [b"fields", b"1"]
    assert dict(zip(entry[2::2], entry[3::2], strict=True)) == {
        b"text": "zażółć".encode(),
        b"whole": b"-7",
        b"real": b"1e+16",
        b"yes": b"true",
        b"raw": b"\xff\x00",
        b"at": b"2024-01-02T00:00:00Z",
        b"price": b"1.10",
        b"key": b"00000000-0000-0000-0000-000000000001",
        b"size": b"2",
        b"colour": b"red",
        b"access": b"3",
    }


flat_records = st.builds(
    Native,
    at=st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    real=st.floats(allow_nan=False),
    access=st.integers(0, 3).map(Access),
)


@given(flat_records)
@example(NATIVE)
def test_a_primitive_record_comes_back_as_it_was(record: Native) -> None:
    back = NATIVE_CODEC.decode(NATIVE_CODEC.encode(record))
    assert back == record
    assert str(back.price) == str(record.price)


def test_a_primitive_record_keeps_nan() -> None:
    entry = NATIVE_CODEC.encode(NATIVE.model_copy(update={"real": math.nan}))
    assert math.isnan(NATIVE_CODEC.decode(entry).real)


def test_a_stream_can_change_between_primitive_entries_and_payloads() -> None:
    class Before(Record):
        a: int
        raw: bytes

    class After(Record, primitive=True):
        a: int
        raw: bytes

    before, after = (EntryCodec(adapt(cls), MsgpackSerializer()) for cls in (Before, After))
    assert after.decode(before.encode(Before(a=1, raw=b"x"))) == After(a=1, raw=b"x")
    assert before.decode(after.encode(After(a=1, raw=b"x"))) == Before(a=1, raw=b"x")


def test_an_optional_field_can_be_added_to_a_primitive_record() -> None:
    class Old(Record, primitive=True):
        a: int

    class New(Record, primitive=True):
        a: int
        b: Size | None = None
        c: int = 5

    old, new = (
        EntryCodec(adapt(Old), MsgpackSerializer()),
        EntryCodec(adapt(New), MsgpackSerializer()),
    )
    assert new.decode(old.encode(Old(a=1))) == New(a=1)
    assert old.decode(new.encode(New(a=1, b=Size.SMALL))) == Old(a=1)


def test_headers_come_after_the_fields() -> None:
    entry = NATIVE_CODEC.encode(NATIVE, {"a": "b"})
    assert NATIVE_CODEC.headers(entry) == {"a": "b"}
    assert NATIVE_CODEC.decode(entry) == NATIVE


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (b"whole", b"x", 'Native.whole: expected an integer, got "x"'),
        (b"size", b"9", 'Native.size: expected 1 or 2, got "9"'),
        (b"access", b"x", 'Native.access: expected 1 or 2, got "x"'),
        (b"text", b"\xff", "Native.text: expected a string"),
        (b"yes", b"maybe", "Native.yes: expected true or false"),
    ],
)
def test_a_field_that_does_not_fit_is_named(field: bytes, value: bytes, reason: str) -> None:
    entry = NATIVE_CODEC.encode(NATIVE)
    entry[entry.index(field) + 1] = value
    with pytest.raises(DecodeError, match=reason):
        NATIVE_CODEC.decode(entry)


def test_text_that_is_half_a_surrogate_pair_is_refused_on_sending() -> None:
    class Loose(Record, primitive=True):
        text: str

    codec = EntryCodec(adapt(Loose), MsgpackSerializer())
    with pytest.raises(EncodeError, match="surrogates"):
        codec.encode(Loose.model_construct(text="\ud800"))
