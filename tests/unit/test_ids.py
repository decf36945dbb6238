"""Ids of stream entries are compared by their numbers, as Redis does."""

from __future__ import annotations

import pytest

from runnel.protocol.ids import parts, reached


@pytest.mark.parametrize(
    ("id_", "found"),
    [("0-0", (0, 0)), ("17-3", (17, 3)), ("17", (17, 0)), (f"1-{2**64 - 1}", (1, 2**64 - 1))],
)
def test_an_id_has_milliseconds_and_a_sequence_number(id_: str, found: tuple[int, int]) -> None:
    assert parts(id_) == found


@pytest.mark.parametrize(
    ("id_", "target", "is_reached"),
    [
        ("5-1", "5-1", True),
        ("5-1", "5", True),
        ("5-10", "5-9", True),
        ("10-0", "9-9", True),
        ("5-1", "5-2", False),
        ("9-9", "10-0", False),
        ("0-0", "0", True),
    ],
)
def test_a_target_is_reached_by_an_equal_or_a_larger_id(
    id_: str, target: str, is_reached: bool
) -> None:
    assert reached(id_, target) is is_reached
