"""What follows from the declaration of a processor: its keys, its target and its pauses."""

from __future__ import annotations

from typing import Any

from runnel import App, Record, keys
from runnel.errors import BadArgument, ConfigError
from runnel.processor import Processor, refused


class Order(Record):
    id: int


async def bill(order: Order) -> None:
    """A handler."""


def processor(**options: Any) -> Processor:
    app = App("shop")
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)
    app.on(orders, **options)(bill)
    (made,) = app.processors.values()
    return made


def test_each_retry_waits_twice_as_long_up_to_the_limit() -> None:
    made = processor(backoff=0.5, backoff_max=3)
    assert [made.delay(attempts) for attempts in (1, 2, 3, 4, 5)] == [0.5, 1, 2, 3, 3]
    assert made.delay(1_000_000) == 3
    assert processor(backoff=0, backoff_max=3).delay(7) == 0


def test_keys_and_target_have_the_name_of_the_processor() -> None:
    made = processor(name="billing")
    assert made.target == f"{__name__}:billing"
    assert made.group == keys.group("shop", "orders", "billing")
    assert made.keys(3).log == keys.log(keys.partition("shop", "orders", 3, "orders"))
    assert made.keys(3).state == keys.state(made.stream.prefix(3), "billing")


def test_a_processor_of_a_derived_stream_has_the_keys_of_its_source_partition() -> None:
    app = App("shop")
    orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)
    app.on(orders.dead_letters("bill"))(bill_again)
    made = app.processors["bill_again"]
    assert made.keys(3).log.startswith("runnel:{shop:orders:3}:orders.bill.dead")
    assert made.group == keys.group("shop", "orders.bill.dead", "bill_again")


async def bill_again(letter: object) -> None:
    """A handler."""


def test_one_processor_too_many_is_explained_and_other_refusals_are_not() -> None:
    full = BadArgument("BADARG", {"registered": "100", "limit": "100"})
    explained = refused(processor(), full)
    assert isinstance(explained, ConfigError)
    assert "stream orders has 100 registered processors" in str(explained)
    for other in (BadArgument("BADARG", {"field": "start"}), ValueError("registered")):
        assert refused(processor(), other) is other
