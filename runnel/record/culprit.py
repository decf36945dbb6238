"""Finds the part of a record that cannot be written, after writing the record has failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runnel.record.difference import parts

#: Steps at most: a list may contain itself.
_DEPTH = 50
#: Does writing fail with only these parts (by key) of the value that the keys lead to?
Fails = Callable[[list[Any], dict[Any, Any]], bool]


def culprit(value: Any, fails: Fails) -> list[Any]:
    """The keys that lead to the part that fails, as far as one part fails alone. Each step halves
    the parts until one is left."""
    steps: list[Any] = []
    while len(steps) < _DEPTH:
        inner = list((parts(value) or {}).items())
        if not inner or not fails(steps, dict(inner)):
            return steps
        while len(inner) > 1:
            half = inner[: len(inner) // 2]
            inner = half if fails(steps, dict(half)) else inner[len(inner) // 2 :]
        key, value = inner[0]
        if not fails(steps, dict(inner)):
            return steps
        steps.append(key)
    return steps


def raises(work: Callable[[], object]) -> bool:
    try:
        work()
    except Exception:
        return True
    return False
