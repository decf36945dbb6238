"""Finds one processor of an app by its name, and what of the app a report on it needs. No I/O."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from runnel.errors import ConfigError

#: Stream and name of a processor.
Pair = tuple[str, str]


def pair_of(field: str) -> Pair:
    """The processor that a field of the registry names."""
    stream, _, name = field.partition("@")
    return stream, name


def find(app: str, wanted: str, known: Iterable[Pair]) -> Pair:
    """The processor that is called so: ``NAME``, or ``STREAM@NAME`` if several streams have one.

    Raises ConfigError, which names those that there are.
    """
    pairs = sorted(known)
    stream, at, name = wanted.rpartition("@")
    found = [each for each in pairs if each[1] == name and (not at or each[0] == stream)]
    if len(found) == 1:
        return found[0]
    names = [f"{stream}@{name}" for stream, name in found or pairs]
    if found:
        raise ConfigError(f"app {app!r} has several processors {name!r}: {', '.join(names)}")
    near = difflib.get_close_matches(name, sorted({each for _, each in pairs}), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    there = ", ".join(names) or "none"
    raise ConfigError(f"app {app!r} has no processor {wanted!r}{hint}; there is {there}")


def needed(pair: Pair, sink: str, known: Iterable[Pair]) -> set[Pair]:
    """The processors that a report on one processor reads: itself, and those that read its dead
    letters, since they decide how many of these wait."""
    return {each for each in known if each == pair or each[0] == sink}
