"""What the events carry. Each kind can be made by Runnel's stream and read by the raw loop."""

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

from runnel import LZ4, App, JSONSerializer, Record, Stream

FLIGHTS = Path(__file__).parent.parent / "examples" / "flights-2013-01.jsonl.gz"
_START = datetime(2026, 1, 1, tzinfo=UTC)


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
    """A kind of record: its class, the stream's options, how to make one, and what the raw loop
    does with an entry's fields to have the same object."""

    record: type[Any]
    options: dict[str, Any]
    make: Callable[[int], Any]
    decode: Callable[[dict[bytes, bytes]], Any]


def _decode_order(fields: dict[bytes, bytes]) -> Order:
    return Order.model_validate(msgpack.unpackb(fields[b"msgpack"]))


def _decode_json(fields: dict[bytes, bytes]) -> Order:
    return Order.model_validate_json(fields[b"json"])


def _decode_page(fields: dict[bytes, bytes]) -> Page:
    return Page.model_validate(
        msgpack.unpackb(lz4.frame.decompress(fields[b"msgpack+lz4"])),
    )


def _decode_primitive(fields: dict[bytes, bytes]) -> PrimitiveOrder:
    del fields[b"fields"]
    return PrimitiveOrder.model_validate({key.decode(): fields[key].decode() for key in fields})


_struct_decoder = msgspec.msgpack.Decoder(StructOrder)


def _decode_struct(fields: dict[bytes, bytes]) -> StructOrder:
    return _struct_decoder.decode(fields[b"msgpack"])


KINDS = {
    "order": Kind(Order, {}, lambda i: Order(**order_values(i)), _decode_order),
    "timed": Kind(
        TimedOrder,
        {},
        lambda i: TimedOrder(**order_values(i), sent=0.0),
        lambda fields: TimedOrder.model_validate(msgpack.unpackb(fields[b"msgpack"])),
    ),
    "json": Kind(
        Order,
        {"serializer": JSONSerializer()},
        lambda i: Order(**order_values(i)),
        _decode_json,
    ),
    "lz4": Kind(Page, {"compressor": LZ4()}, _page, _decode_page),
    "primitive": Kind(
        PrimitiveOrder, {}, lambda i: PrimitiveOrder(**order_values(i)), _decode_primitive
    ),
    "struct": Kind(StructOrder, {}, lambda i: StructOrder(**order_values(i)), _decode_struct),
}


def stream_name(kind: str, partitions: int) -> str:
    """The name of the stream that carries this kind in so many partitions."""
    return f"{kind}-{partitions}"


def declare(app: App, kind: str, partitions: int, size: int = 1_000_000) -> Stream[Any]:
    """The stream of this kind. `size` is roomy: no measure but those of retention is to be full."""
    chosen = KINDS[kind]
    return app.stream(
        stream_name(kind, partitions),
        record=chosen.record,
        partition_by="order_id",
        partition_count=partitions,
        partition_size=size,
        **chosen.options,
    )
