"""Partitions as people write them."""

from __future__ import annotations

import pytest

from runnel.operations.partition_ranges import ranges, read_ranges, some, those


@pytest.mark.parametrize(
    ("numbers", "text"), [([0, 1, 2, 5, 7, 8], "0-2,5,7-8"), ([4], "4"), ([], "")]
)
def test_neighbours_are_taken_together(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text
    if text:
        assert read_ranges(text) == numbers


def test_they_come_with_their_noun() -> None:
    assert those([3]) == "partition 3"
    assert those([4, 3, 0]) == "partitions 0,3-4"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is none of"),
        ("-1", "is none of"),
        ("1-", "is none of"),
        ("1,,2", "is none of"),
        ("x", "is none of"),
        ("1-2-3", "is none of"),
        ("0-999999999", "is none of"),
        ("\uff11", "is none of"),
        ("5-3", "goes down: write 3-5"),
    ],
)
def test_what_is_no_range_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_ranges(text)


def test_the_first_few_are_named_and_the_rest_counted() -> None:
    assert some([3]) == "partition 3"
    assert some([5, 0, 3]) == "partitions 0, 3, 5"
    assert some(range(4)) == "partitions 0, 1, 2, 3"
    assert some(range(5)) == "partitions 0, 1, 2 and 2 more"
