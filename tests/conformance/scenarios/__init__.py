"""Several calls of several members: what a client lives through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tests.conformance.cases import Case
from tests.conformance.scenarios import failures, losses, members, postponing, repeats

_MODULES = (members, repeats, failures, postponing, losses)


def cases() -> Iterator[Case]:
    """All of them."""
    for module in _MODULES:
        makers: Iterable[Callable[[], Case]] = module.CASES
        for make in makers:
            yield make()
