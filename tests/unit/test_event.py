"""An event decodes its record at the first access, and has its entry as it was sent."""

from __future__ import annotations

import pytest

from runnel import App, Event, Record
from runnel.errors import DecodeError, EncodeError


class Order(Record):
    id: int


STREAM = App("shop").stream("orders", record=Order, partition_by="id")
CODEC = STREAM.spec.codec


def event(fields: list[bytes]) -> Event[Order]:
    return Event([b"1795435471123-7", fields], 3, CODEC)


def test_an_event_has_the_entry_as_it_was_sent() -> None:
    sent = CODEC.encode(Order(id=5), {"traceparent": "00-1"})
    received = event(sent)
    assert (received.id, received.partition) == ("1795435471123-7", 3)
    assert received.fields == sent
    assert received.record == Order(id=5)
    assert received.headers == {"traceparent": "00-1"}
    assert repr(received) == "Event(id='1795435471123-7', partition=3)"


def test_the_record_is_decoded_once() -> None:
    received = event(CODEC.encode(Order(id=5)))
    assert received.record is received.record


def test_an_entry_that_cannot_be_decoded_has_its_id_fields_and_headers() -> None:
    received = event([b"json", b"{", b"@traceparent", b"00-1"])
    assert received.id == "1795435471123-7"
    assert received.fields[1] == b"{"
    assert received.headers == {"traceparent": "00-1"}
    for _ in range(2):
        with pytest.raises(DecodeError):
            assert received.record


def test_an_event_made_by_hand_is_as_if_it_was_sent_and_read() -> None:
    order = Order(id=5)
    made = Event.of(STREAM, order, headers={"traceparent": "00-1"})
    assert (made.id, made.partition) == ("1-0", STREAM.spec.partition(order))
    assert made.record == order
    assert made.record is not order
    assert (made.headers, made.fields) == (
        {"traceparent": "00-1"},
        CODEC.encode(order, {"traceparent": "00-1"}),
    )
    other = Event.of(STREAM, order, id="7-2", partition=3)
    assert (other.id, other.partition, other.headers) == ("7-2", 3, {})


def test_an_event_of_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(EncodeError):
        Event.of(STREAM, "five")  # type: ignore[misc]
