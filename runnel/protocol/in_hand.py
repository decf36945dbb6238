"""How many events a member has in hand, in words behind its description.

A member of which each partition has several events in hand writes these words with each heartbeat:
``in_hand=80:12 3=64:12 5=16:0``. The first one is about all its partitions together: 80 events
are in hand, 12 of which are finished, but lie behind others that are not, so that no checkpoint is
past them. Then comes a word for each partition with events in hand, the fullest first; the last
word is ``...`` if there was no place for all of them. No script reads this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

#: Bytes of these words at most: a description may have 1,000.
MOST_BYTES = 600
_WORD = re.compile(r"(in_hand|\d{1,5})=(\d{1,9}):(\d{1,9})")


class InHandCount(NamedTuple):
    """Events in hand, and how many of these are finished ahead of the checkpoint."""

    events: int
    finished_ahead: int


class MemberInHand(NamedTuple):
    """What a member has in hand. Partitions that are not named have none, if all are `named`."""

    total: InHandCount
    partitions: dict[int, InHandCount]
    named: bool


def in_hand_words(partitions: Mapping[int, InHandCount]) -> str:
    """The words about these partitions."""
    some = {number: each for number, each in partitions.items() if each.events}
    events = sum(each.events for each in some.values())
    ahead = sum(each.finished_ahead for each in some.values())
    words, left = [f"in_hand={events}:{ahead}"], MOST_BYTES
    for number, each in sorted(some.items(), key=lambda item: (-item[1].events, item[0])):
        word = f"{number}={each.events}:{each.finished_ahead}"
        left -= len(word) + 1
        if left < 0:
            return " ".join([*words, "..."])
        words.append(word)
    return " ".join(words)


def read_in_hand(description: str) -> MemberInHand | None:
    """What a description says about the events in hand, or None if it says nothing."""
    words = description.split()
    found = {match[1]: InHandCount(int(match[2]), int(match[3])) for match in _matches(words)}
    total = found.pop("in_hand", None)
    if total is None:
        return None
    partitions = {int(number): each for number, each in found.items()}
    return MemberInHand(total, partitions, "..." not in words)


def _matches(words: list[str]) -> list[re.Match[str]]:
    return [match for word in words if (match := _WORD.fullmatch(word))]
