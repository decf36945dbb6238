"""The options of a send, and how its records are divided."""

from __future__ import annotations

import asyncio
from enum import Enum
from math import inf
from typing import Any
from uuid import UUID

import pytest

from runnel import App, Record, Stream
from runnel.errors import ConfigError, RecordTooLarge
from runnel.producer.shares import BATCH, MAX_KEY, once_of, shares_of, wait_until, when_full


class Item(Record):
    key: int
    text: str = ""


def declared(size: int = 10_000) -> Stream[Item]:
    app = App("shop")
    return app.stream(
        "items", record=Item, partition_by="key", partition_count=4, partition_size=size
    )


def test_each_partition_gets_its_records_in_their_order() -> None:
    spec = declared().spec
    records = [Item(key=number % 7, text=str(number)) for number in range(50)]
    shares = shares_of(spec, records, None, 1000)
    positions = sorted(each for share in shares for each in share.positions)
    assert positions == list(range(50))
    for share in shares:
        assert share.positions == sorted(share.positions)
        entries = [entry for batch in share.batches for entry in batch]
        assert entries == [spec.encode(records[each]) for each in share.positions]
        assert {spec.partition(records[each]) for each in share.positions} == {share.partition}


@pytest.mark.parametrize(("size", "most"), [(10_000, BATCH), (100, 50), (2, 1)])
def test_a_batch_has_no_more_records_than_half_a_partition(size: int, most: int) -> None:
    (share,) = shares_of(declared(size).spec, [Item(key=1)] * 1100, None, 1000)
    lengths = [len(each) for each in share.batches]
    assert max(lengths) == most
    assert sum(lengths) == 1100


def test_a_batch_has_about_a_megabyte() -> None:
    (share,) = shares_of(declared().spec, [Item(key=1, text="x" * 400_000)] * 5, None, 10**6)
    assert [len(each) for each in share.batches] == [2, 2, 1]


def test_a_record_that_is_too_large_is_named() -> None:
    records = [Item(key=1), Item(key=1, text="x" * 100)]
    with pytest.raises(RecordTooLarge, match=r"record 1 takes 1\d\d bytes"):
        shares_of(declared().spec, records, None, 100)


async def test_how_long_a_send_waits_for_room() -> None:
    assert (wait_until(False), wait_until(True)) == (0.0, inf)
    now = asyncio.get_running_loop().time()
    assert wait_until(5) >= now + 5


def test_what_is_dropped_when_a_partition_is_full() -> None:
    items = declared().spec
    assert (when_full(items, False), when_full(items, True)) == ("refuse", "drop_oldest")
    logs = App("shop").stream("logs", record=Item, partition_by="key", retain="until_full").spec
    assert (when_full(logs, False), when_full(logs, True)) == ("drop_unread", "drop_oldest")


class Kind(Enum):
    SALE = "sale"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("order-17", "order-17"),
        ("zażółć", "zażółć"),
        (17, "17"),
        (b"order-17", "order-17"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Kind.SALE, "sale"),
        ("x" * MAX_KEY, "x" * MAX_KEY),
    ],
)
def test_a_natural_key_is_text_for_every_language(key: object, text: str) -> None:
    assert once_of(key, 1, 1.5) == (text, 1500)


@pytest.mark.parametrize("key", [True, 1.5, [], b"\xff", "\ud800"])
def test_a_natural_key_of_another_type_is_refused(key: Any) -> None:
    with pytest.raises(ConfigError, match=r"dedupe=…\) takes text, an integer"):
        once_of(key, 1, 1.0)


@pytest.mark.parametrize("key", ["", b"", "x" * (MAX_KEY + 1), "ż" * MAX_KEY])
def test_a_natural_key_has_a_limited_length(key: Any) -> None:
    with pytest.raises(ConfigError, match=f"a key of 1 to {MAX_KEY} bytes"):
        once_of(key, 1, 1.0)


@pytest.mark.parametrize("records", [0, 2])
def test_a_natural_key_is_for_one_record(records: int) -> None:
    with pytest.raises(ConfigError, match=f"takes one record, not {records}"):
        once_of("order-17", records, 1.0)
