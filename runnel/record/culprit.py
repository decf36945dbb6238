"""Which part of a record cannot be written? Asked once it is known that one cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runnel.record.difference import parts

#: So many steps are gone: a list may be inside itself.
_DEPTH = 50
#: Do these parts, alone, of what stands at this place fail too? By key.
Fails = Callable[[list[Any], dict[Any, Any]], bool]


def culprit(value: Any, fails: Fails) -> list[Any]:
    """The keys that lead to it, as far as one part fails by itself. Each step asks as many times
    as halving takes."""
    way: list[Any] = []
    while len(way) < _DEPTH:
        inner = list((parts(value) or {}).items())
        if not inner or not fails(way, dict(inner)):
            return way
        while len(inner) > 1:
            half = inner[: len(inner) // 2]
            inner = half if fails(way, dict(half)) else inner[len(inner) // 2 :]
        key, value = inner[0]
        if not fails(way, dict(inner)):
            return way
        way.append(key)
    return way


def raises(work: Callable[[], object]) -> bool:
    try:
        work()
    except Exception:
        return True
    return False
