"""A dead letter has the event as it was, and an error of limited length."""

from __future__ import annotations

from datetime import UTC, datetime

from runnel import App, DeadLetter, Record


class Order(Record):
    id: int


def test_a_dead_letter_is_stored_and_read_with_the_event_as_it_was() -> None:
    orders = App("shop").stream("orders", record=Order, partition_by="id")
    fields = [*orders.spec.encode(Order(id=5), {"a": "b"}), b"value", b"\xff", b"value", b"2"]
    before = datetime.now(UTC)
    made = DeadLetter.of("orders", "work", 3, ("1-0", tuple(fields)), 4, ("ValueError", "x" * 1001))
    assert before <= made.at <= datetime.now(UTC)
    assert made.error_message == "x" * 1000
    spec = orders.dead_letters("work").spec
    read = spec.codec.decode(spec.encode(made))
    assert read == made
    assert (read.stream, read.processor, read.partition) == ("orders", "work", 3)
    assert (read.event, read.attempts, read.error_type) == ("1-0", 4, "ValueError")
    assert read.fields == fields
    assert orders.original(read) == Order(id=5)
