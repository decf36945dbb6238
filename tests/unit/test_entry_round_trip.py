"""Records of every kind are read back unchanged, through every serializer and compressor."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import EncodeError
from runnel.record import Record, adapt
from runnel.record.difference import difference
from tests.unit.every_kind import RECORDS, WILD, Data, Native, Nested, Raw, Scalars, Size, Struct

WAYS: list[tuple[Serializer, Compressor | None]] = [
    (MsgpackSerializer(), None),
    (MsgpackSerializer(), LZ4()),
    (MsgpackSerializer(), Gzip()),
    (JSONSerializer(), None),
    (JSONSerializer(), LZ4()),
]
#: For each of many kinds.
few = settings(max_examples=25)
CODECS = {
    kind: [
        EntryCodec(adapt(kind), serializer, compressor, compress_over=0)
        for serializer, compressor in WAYS
        if kind is not Raw or serializer.name != "json"
    ]
    for kind in RECORDS
}


@few
@given(data=st.data())
@pytest.mark.parametrize("kind", RECORDS, ids=lambda each: each.__name__)
def test_a_record_comes_back_as_it_was(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(RECORDS[kind])
    for codec in CODECS[kind]:
        back = CODECS[kind][0].decode(codec.encode(record))
        assert (type(back), difference(record, back, "")) == (kind, None)


@few
@given(data=st.data())
@pytest.mark.parametrize("kind", [Scalars, Nested, Data, Struct, Native, Raw])
def test_whatever_a_field_holds_it_comes_back_or_is_refused(
    kind: type[Any], data: st.DataObject
) -> None:
    record = data.draw(RECORDS[kind])
    name = data.draw(st.sampled_from(sorted(record_fields(record))))
    setattr(record, name, data.draw(WILD))
    for codec in CODECS[kind]:
        with contextlib.suppress(EncodeError):
            entry = codec.encode(record)
            assert difference(record, CODECS[kind][0].decode(entry), "") is None


@given(value=WILD | st.lists(WILD, max_size=2), serializer=st.sampled_from(WAYS))
def test_whatever_is_sent_without_a_type_comes_back_or_is_refused(
    value: Any, serializer: Any
) -> None:
    class Loose(Record, extra="allow"):
        anything: Any

    codec = EntryCodec(adapt(Loose), *serializer)
    record = Loose(anything=value, more=value)  # type: ignore[call-arg]
    with contextlib.suppress(EncodeError):
        back = codec.decode(codec.encode(record))
        assert difference(record, back, "") is None
        assert type(back.anything) is type(value) or back.anything == value


def record_fields(record: Any) -> set[str]:
    if isinstance(record, BaseModel):
        return set(type(record).model_fields)
    if isinstance(record, msgspec.Struct):
        return set(record.__struct_fields__)
    return {field.name for field in dataclasses.fields(record)}


class Part(Record):
    sku: str


class Order(Record):
    order_id: int
    at: datetime
    price: Decimal
    key: UUID
    size: Size
    item: Part
    items: list[Part] = []
    note: str | None = None


ORDERS = EntryCodec(adapt(Order), MsgpackSerializer())
orders = st.builds(
    Order,
    order_id=st.integers(-(2**63), 2**64 - 1),
    at=st.datetimes() | st.datetimes(timezones=st.just(UTC)),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    items=st.lists(st.builds(Part), max_size=3),
)


@given(orders, st.sampled_from([MsgpackSerializer(), JSONSerializer()]))
def test_any_order_comes_back_as_it_was(order: Order, serializer: Serializer) -> None:
    back = ORDERS.decode(EntryCodec(adapt(Order), serializer).encode(order))
    assert back == order
    assert str(back.price) == str(order.price)
    assert back.at.tzinfo == order.at.tzinfo
