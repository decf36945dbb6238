"""Plain values: what every serializer and every language has."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from runnel.record.plain import plain


class Size(Enum):
    SMALL = "s"


class Rate(Enum):
    LOW = Decimal("0.5")


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02T03:04:05Z"),
        (Size.SMALL, "s"),
        (Rate.LOW, "0.5"),
        ((1, Size.SMALL), [1, "s"]),
        ({Size.SMALL}, ["s"]),
        (frozenset((Size.SMALL,)), ["s"]),
        (MappingProxyType({"a": Size.SMALL}), {"a": "s"}),
        ({1: 2, Size.SMALL: 3, UUID(int=1): 4}, {"1": 2, "s": 3, str(UUID(int=1)): 4}),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
    ],
)
def test_a_value_without_a_plain_type_becomes_its_text(value: Any, canonical: Any) -> None:
    assert plain(value) == canonical


def test_keys_and_values_are_of_the_plain_types_themselves() -> None:
    class Word(str):
        __slots__ = ()

    (key, value), *_ = plain({Word("a"): Word("b")}).items()
    assert (type(key), type(value)) == (str, str)
    assert type(plain(bytearray(b"x"))) is bytes


def test_a_value_that_has_no_text_is_refused() -> None:
    for value in (object(), [{"a": object()}], {object(): 1}):
        with pytest.raises(ValueError, match="Unable to serialize"):
            plain(value)
