"""The declaration of a stream, without an app."""

from __future__ import annotations

import pytest

from runnel import Record
from runnel.codec.entry import EntryCodec
from runnel.codec.partitioning import XXH64
from runnel.codec.serializers import JSONSerializer
from runnel.errors import ConfigError, PartitionKeyError
from runnel.record import adapt
from runnel.retention import Retention
from runnel.stream_spec import StreamSpec


class Order(Record):
    id: int
    note: str | None = None


def spec(partition_by: str = "id", source: str | None = None) -> StreamSpec[Order]:
    codec = EntryCodec(adapt(Order), JSONSerializer())
    options = (partition_by, 4, 100, XXH64(), source, Retention())
    return StreamSpec("shop", "orders", codec, *options)


def test_keys_and_partitions_follow_from_the_record() -> None:
    orders = spec()
    assert orders.key(Order(id=42)) == b"42"
    assert orders.partition(Order(id=42)) == XXH64()(b"42") % 4
    assert orders.prefix(3) == "runnel:{shop:orders:3}:orders"
    assert orders.limits == 100


def test_a_derived_stream_is_in_the_slots_of_its_source() -> None:
    assert spec(source="parcels").prefix(3) == "runnel:{shop:parcels:3}:orders"
    assert spec(source="parcels").sink(3).derived
    assert not spec().sink(3).derived


def test_a_record_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="partition_by names 'uid'"):
        spec("uid")
    with pytest.raises(PartitionKeyError, match="stream orders"):
        spec("note").partition(Order(id=1))
