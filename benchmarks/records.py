"""The kinds of records that events carry, and the streams of them. The raw loop reads these too."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import lz4.frame
import msgpack
import msgspec

from runnel import LZ4, App, JSONSerializer, Record, Stream, keys

FLIGHTS = Path(__file__).parent.parent / "examples" / "flights-2013-01.jsonl.gz"
_START = datetime(2026, 1, 1, tzinfo=UTC)
#: Accounts of payments. Most of a hundred payments in a row are to different ones.
ACCOUNTS = 10_000
#: Accounts of those whose handlers wait.
CALLED = 1000


class Order(Record):
    """The small typed record of most measures."""

    order_id: int
    created_at: datetime
    amount: int


class TimedOrder(Order):
    """An order that says when it was sent, on the system's monotonic clock."""

    sent: float


class PrimitiveOrder(Record, primitive=True):
    """An order whose fields are fields of the stream entry."""

    order_id: int
    created_at: datetime
    amount: int


class StructOrder(msgspec.Struct):
    """An order as a msgspec Struct."""

    order_id: int
    created_at: datetime
    amount: int


class Payment(Record):
    """A payment to one of ACCOUNTS accounts."""

    account: int
    paid_at: datetime
    amount: int


class Page(Record):
    """About a kilobyte of real text: five departures out of New York as JSON lines."""

    order_id: int
    text: str


@cache
def flights() -> list[str]:
    """The lines of the example data set."""
    with gzip.open(FLIGHTS, "rt") as lines:
        return lines.read().splitlines()


def order_values(number: int) -> dict[str, Any]:
    """The fields of the order with that number; every number is a partition key of its own."""
    created = _START + timedelta(milliseconds=number)
    return {"order_id": number, "created_at": created, "amount": number % 1000}


def _page(number: int) -> Page:
    lines = flights()
    first = number * 5 % (len(lines) - 5)
    return Page(order_id=number, text="\n".join(lines[first : first + 5]))


@dataclass(frozen=True)
class Kind:
    """A kind of record: its class, the stream's options, how to make one, how the raw loop decodes
    the fields of an entry to the same object, and the field that is the partition key."""

    record: type[Any]
    options: dict[str, Any]
    make: Callable[[int], Any]
    decode: Callable[[dict[bytes, bytes]], Any]
    key: str = "order_id"


def _pay(account: int, number: int) -> Payment:
    paid_at = _START + timedelta(milliseconds=number)
    return Payment(account=account, paid_at=paid_at, amount=number % 1000)


def _payment(number: int) -> Payment:
    # A prime, so that the accounts of payments in a row are far from each other.
    return _pay(number * 7919 % ACCOUNTS, number)


def _call(number: int) -> Payment:
    return _pay(number * 7919 % CALLED, number)


def _first_payment(number: int) -> Payment:
    return _pay(number, number)


def _decode_payment(fields: dict[bytes, bytes]) -> Payment:
    return Payment.model_validate(msgpack.unpackb(fields[b"msgpack"]))


def _decode_order(fields: dict[bytes, bytes]) -> Order:
    return Order.model_validate(msgpack.unpackb(fields[b"msgpack"]))


def _decode_timed(fields: dict[bytes, bytes]) -> TimedOrder:
    return TimedOrder.model_validate(msgpack.unpackb(fields[b"msgpack"]))


def _decode_json(fields: dict[bytes, bytes]) -> Order:
    return Order.model_validate_json(fields[b"json"])


def _decode_page(fields: dict[bytes, bytes]) -> Page:
    return Page.model_validate(msgpack.unpackb(lz4.frame.decompress(fields[b"msgpack+lz4"])))


def _decode_primitive(fields: dict[bytes, bytes]) -> PrimitiveOrder:
    del fields[b"fields"]
    return PrimitiveOrder.model_validate({key.decode(): fields[key].decode() for key in fields})


_struct_decoder = msgspec.msgpack.Decoder(StructOrder)


def _decode_struct(fields: dict[bytes, bytes]) -> StructOrder:
    return _struct_decoder.decode(fields[b"msgpack"])


def _maker(record: type[Any], **more: float) -> Callable[[int], Any]:
    return lambda number: record(**order_values(number), **more)


KINDS = {
    "order": Kind(Order, {}, _maker(Order), _decode_order),
    "payment": Kind(Payment, {}, _payment, _decode_payment, "account"),
    "call": Kind(Payment, {}, _call, _decode_payment, "account"),
    "first-payment": Kind(Payment, {}, _first_payment, _decode_payment, "account"),
    "timed": Kind(TimedOrder, {}, _maker(TimedOrder, sent=0.0), _decode_timed),
    "json": Kind(Order, {"serializer": JSONSerializer()}, _maker(Order), _decode_json),
    "lz4": Kind(Page, {"compressor": LZ4()}, _page, _decode_page),
    "primitive": Kind(PrimitiveOrder, {}, _maker(PrimitiveOrder), _decode_primitive),
    "struct": Kind(StructOrder, {}, _maker(StructOrder), _decode_struct),
}


def stream_name(kind: str, partitions: int) -> str:
    """The name of the stream of this kind with so many partitions."""
    return f"{kind}-{partitions}"


def prefixes(kind: str, partitions: int) -> list[str]:
    """The key prefix of each partition of that stream."""
    name = stream_name(kind, partitions)
    return [keys.partition("bench", name, number, name) for number in range(partitions)]


def logs(kind: str, partitions: int) -> list[str]:
    """The keys of that stream's logs."""
    return [keys.log(prefix) for prefix in prefixes(kind, partitions)]


def declare(app: App, kind: str, partitions: int) -> Stream[Any]:
    """The stream of this kind, so large that it is never full."""
    chosen = KINDS[kind]
    return app.stream(
        stream_name(kind, partitions),
        record=chosen.record,
        partition_by=chosen.key,
        partition_count=partitions,
        partition_size=1_000_000,
        **chosen.options,
    )


def plain_order(number: int) -> dict[str, Any]:
    """The values of an order as one would pack them by hand: the date as text."""
    values = order_values(number)
    return {**values, "created_at": values["created_at"].isoformat()}
