"""From a key to a partition."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from runnel.errors import PartitionKeyError
from runnel.partitioning import XXH64, key_bytes, partition_of


class Plan(enum.Enum):
    FREE = "free"


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
    assert partition_of(key_bytes(text), 16, XXH64()) == number % 16


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
