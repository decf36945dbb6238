"""A stream chooses the partition of each record, and others can be derived from it."""

from __future__ import annotations

from typing import Any

import pytest

from runnel import App, DeadLetter, Record
from runnel.codec.partitioning import XXH64
from runnel.errors import ConfigError, PartitionKeyError


class Order(Record):
    id: int
    customer: str | None = None


app = App("shop")
orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)


def test_the_partition_is_that_of_the_key() -> None:
    by_function = app.stream(
        "by-function", record=Order, partition_by=lambda order: order.id % 3, partition_count=4
    )
    for number in range(20):
        order = Order(id=number)
        assert orders.spec.partition(order) == XXH64()(str(number).encode()) % 4
        assert by_function.spec.partition(order) == orders.spec.partition(Order(id=number % 3))


@pytest.mark.parametrize(
    ("partition_by", "says"),
    [
        ("customer", "None cannot be a partition key"),
        (lambda order: order.id / 2, "a value of type float cannot be"),
        (lambda order: "ab"[order.id], "partition_by raised IndexError: string index out of range"),
    ],
)
def test_a_record_without_a_usable_key_is_named(partition_by: Any, says: str) -> None:
    spec = App("shop").stream("keyed", record=Order, partition_by=partition_by).spec
    with pytest.raises(PartitionKeyError, match=rf"^stream keyed, Order\(id=5.*\): {says}"):
        spec.partition(Order(id=5))


def test_partition_by_names_a_field_of_the_record() -> None:
    with pytest.raises(ConfigError, match="partition_by names 'user', which is no field of Order"):
        App("shop").stream("orders", record=Order, partition_by="user")


async def test_a_derived_stream_has_the_partitions_of_its_source_and_nobody_sends_to_it() -> None:
    letters = orders.derive("letters", DeadLetter)
    assert app.streams["letters"] is letters
    assert letters.spec.contract == orders.spec.contract
    assert letters.spec.prefix(3) == "runnel:{shop:orders:3}:letters"
    assert letters.derive("of-letters", DeadLetter).spec.prefix(3).startswith("runnel:{shop:orders")
    with pytest.raises(ConfigError, match="two streams named 'letters'"):
        orders.derive("letters", DeadLetter)
    with pytest.raises(ConfigError, match="letters is derived from orders: only processors"):
        await letters.send(Order(id=5))  # type: ignore[call-overload]


def test_the_dead_letters_of_a_processor_are_one_stream() -> None:
    found = orders.dead_letters("bill")
    assert found.name == "orders.bill.dead"
    assert orders.dead_letters("bill") is found
    assert orders.dead_letters("ship") is not found


@pytest.mark.parametrize("name", [None, "", 5, True, b"reader", "a b", object()])
def test_dead_letters_are_of_a_processor(name: Any) -> None:
    with pytest.raises(ConfigError, match="processor name"):
        orders.dead_letters(name)
