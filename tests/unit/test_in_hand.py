"""What a member says of the events that it has in hand."""

from __future__ import annotations

import pytest

from runnel.protocol import InHandCount, MemberInHand, in_hand_words, read_in_hand
from runnel.protocol.in_hand import MOST_BYTES


def test_each_partition_with_events_in_hand_is_named_the_fullest_first() -> None:
    counts = {0: InHandCount(16, 0), 3: InHandCount(64, 12), 5: InHandCount(0, 0)}
    words = in_hand_words(counts)
    assert words == "in_hand=80:12 3=64:12 0=16:0"
    named = {0: InHandCount(16, 0), 3: InHandCount(64, 12)}
    read = read_in_hand(f"host 7 python 1.0 {words}")
    assert read == MemberInHand(InHandCount(80, 12), named, True)


def test_nothing_in_hand_is_said_too() -> None:
    assert in_hand_words({}) == "in_hand=0:0"
    assert read_in_hand("host 7 python 1.0 in_hand=0:0") == MemberInHand(
        InHandCount(0, 0), {}, True
    )


def test_of_very_many_partitions_the_fullest_are_named_and_all_are_counted() -> None:
    counts = {number: InHandCount(number + 1, 1) for number in range(10_000)}
    words = in_hand_words(counts)
    assert len(words) < MOST_BYTES + 50
    read = read_in_hand(words)
    assert read is not None
    assert read.total == InHandCount(50_005_000, 10_000)
    assert not read.named
    assert 9_999 in read.partitions
    assert 0 not in read.partitions


@pytest.mark.parametrize(
    "description",
    ["", "host 7 python 1.0", "host 7 go 1.0 in_hand=many", "host 7 go 1.0 3=1:0"],
)
def test_other_descriptions_say_nothing(description: str) -> None:
    assert read_in_hand(description) is None
