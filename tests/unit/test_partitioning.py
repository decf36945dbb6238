"""From a key to a partition."""

from __future__ import annotations

import enum
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel import App, Record
from runnel.codec.partitioning import XXH64, key_bytes
from runnel.errors import PartitionKeyError


class Item(Record):
    key: str


class Plan(enum.Enum):
    FREE = "free"


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.StrEnum):
    RED = "red"


class Odd(enum.Enum):
    YES = True
    HALF = 0.5


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", 17241709254077376921),
        ("a", 15154266338359012955),
        ("42", 7919287270473417401),
        ("customer-12345678", 15613905554464276550),
        ("zażółć", 4996298673883053170),
    ],
)
def test_the_published_vectors_hold(text: str, number: int) -> None:
    assert XXH64()(text.encode()) == number


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("ż", "ż".encode()),
        (42, b"42"),
        (-1, b"-1"),
        (2**70, b"%d" % 2**70),
        (b"\x00", b"\x00"),
        (UUID(int=0xAB), b"00000000-0000-0000-0000-0000000000ab"),
        (Plan.FREE, b"free"),
    ],
)
def test_a_key_becomes_bytes_by_its_type(key: Any, expected: bytes) -> None:
    assert key_bytes(key) == expected


@pytest.mark.parametrize("key", [1.0, True, None, datetime(2026, 1, 1), ["a"], "\ud800"])
def test_a_key_without_one_form_in_all_languages_is_refused(key: Any) -> None:
    with pytest.raises(PartitionKeyError):
        key_bytes(key)


@pytest.mark.parametrize(("key", "data"), [(Level.HIGH, b"3"), (Colour.RED, b"red")])
def test_an_enum_of_numbers_or_text_is_its_value(key: Any, data: bytes) -> None:
    assert key_bytes(key) == data


@pytest.mark.parametrize(
    ("key", "named"),
    [
        (1.0, "float"),
        (True, "bool"),
        (None, "None"),
        (datetime(2024, 1, 1), "datetime"),
        (Decimal(1), "Decimal"),
        ((1, 2), "tuple"),
        (object(), "object"),
        (Odd.YES, "bool"),
        (Odd.HALF, "float"),
    ],
)
def test_a_key_without_a_shared_form_is_refused_by_its_type(key: Any, named: str) -> None:
    with pytest.raises(PartitionKeyError, match=rf"{named}.*use text, an integer, a UUID, bytes"):
        key_bytes(key)


@pytest.mark.parametrize("key", ["\ud800", 1 << 20_000], ids=["half a pair", "6021 digits"])
def test_a_key_that_python_cannot_write_is_refused(key: Any) -> None:
    with pytest.raises(PartitionKeyError, match="not valid text"):
        key_bytes(key)


@given(st.integers())
def test_a_number_and_its_digits_share_a_partition(number: int) -> None:
    assert key_bytes(number) == key_bytes(str(number))


@given(st.text() | st.integers() | st.uuids() | st.binary(), st.integers(1, 10_000))
def test_every_key_has_a_partition_of_the_stream(key: Any, count: int) -> None:
    stream = App("a").stream("s", record=Item, partition_by=lambda _: key, partition_count=count)
    assert 0 <= stream.spec.partition(Item(key="")) < count


def test_another_hash_can_be_used() -> None:
    class Length:
        name = "length"

        def __call__(self, data: bytes) -> int:
            return len(data)

    stream = App("a").stream(
        "s", record=Item, partition_by="key", partition_count=4, hasher=Length()
    )
    assert stream.spec.partition(Item(key="12345")) == 1
