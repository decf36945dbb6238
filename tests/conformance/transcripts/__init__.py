"""What each script replies, and what it leaves in the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tests.conformance.cases import Case
from tests.conformance.transcripts import (
    administering,
    apps,
    delayed,
    groups,
    leases,
    numbered,
    parking,
    postponing,
    retention,
    sending,
    snapshots,
    streams,
    tables,
    transacting,
)

_MODULES = (
    *(
        sending,
        numbered,
        retention,
        delayed,
        streams,
        leases,
        transacting,
        tables,
        snapshots,
        parking,
        postponing,
    ),
    *(administering, groups, apps),
)


def cases() -> Iterator[Case]:
    """All of them."""
    for module in _MODULES:
        makers: Iterable[Callable[[], Case]] = module.CASES
        for make in makers:
            yield make()
