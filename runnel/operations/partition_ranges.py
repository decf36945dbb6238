"""Formats and parses lists of partition numbers, such as ``0-3,7``."""

from __future__ import annotations

from collections.abc import Iterable

#: Numbers that `some` writes out, if there are at least two more.
_SOME = 3


def ranges(numbers: Iterable[int]) -> str:
    """Format numbers, which must be in ascending order: ``0-3,7``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def those(numbers: Iterable[int]) -> str:
    """Format numbers with their noun: ``partition 3``, ``partitions 0-3,7``."""
    known = sorted(numbers)
    return f"partition{'' if len(known) == 1 else 's'} {ranges(known)}"


def some(numbers: Iterable[int]) -> str:
    """Format the first few numbers with their noun, and count the rest: ``partition 3``,
    ``partitions 0, 3, 5 and 9 more``."""
    known = sorted(numbers)
    shown = known[: _SOME if len(known) > _SOME + 1 else None]
    first = ", ".join(str(each) for each in shown)
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    return f"partition{'' if len(known) == 1 else 's'} {first}{more}"


def many(count: int) -> str:
    """A count with its noun: ``1 partition``, ``4 partitions``."""
    return f"{count} partition{'' if count == 1 else 's'}"


def read_ranges(text: str) -> list[int]:
    """The numbers in ``3``, ``0-3`` or ``0-3,7``. Raises ValueError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(each.isascii() and each.isdecimal() and len(each) < 6 for each in ends):
            raise ValueError(f"{text!r} is none of 3, 0-3 or 0-3,7")
        if dash and int(last) < int(first):
            raise ValueError(f"{part.strip()!r} goes down: write {last}-{first}")
        found += range(int(first), int(last if dash else first) + 1)
    return found
