"""Reads the words of `runnel inspect`: an app, one of its processors, one of its partitions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import click

#: APP/PROCESSOR, as the tables write it, and APP/STREAM@PROCESSOR, as commands take it.
_WITHOUT_CODE = re.compile(r"([^/:@]+)/([^/:]+)")
#: How to name what is meant.
HOW = (
    "give TARGET [PROCESSOR [PARTITION]], such as example:app printer 3; or, without its code, "
    "APP/PROCESSOR [PARTITION], such as myapp/printer 3"
)


class LookedAt(NamedTuple):
    """What the words name: a target in code, or the name of an app; and of it, a processor and a
    partition."""

    target: str | None
    app: str | None
    processor: str | None
    partition: int | None


def read(words: Sequence[str], app: str | None, partition: int | None) -> LookedAt:
    """What the words name, with the options --app and --partition. Raises click.UsageError."""
    left, target, processor = list(words), None, None
    if left and (found := _WITHOUT_CODE.fullmatch(left[0])) and not left[0].endswith(".py"):
        if app is not None:
            raise click.UsageError(f"{left[0]} names the app: leave --app out")
        app, processor = found.groups()
        del left[0]
    elif left and app is None:
        target = left.pop(0)
    elif left and ":" in left[0]:
        raise click.UsageError("give a TARGET or --app, not both")
    if left and processor is None and not _is_number(left[0]):
        processor = left.pop(0)
    if left and _is_number(left[0]):
        if partition is not None:
            raise click.UsageError("give a PARTITION or --partition, not both")
        partition = int(left.pop(0))
    if left:
        raise click.UsageError(f"{left[0]!r} is one word too many: {HOW}")
    # A target may name a processor by itself: that is known once its code is imported.
    if partition is not None and processor is None and target is None:
        raise click.UsageError(f"of which processor? {HOW}")
    return LookedAt(target, app, processor, partition)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 6
