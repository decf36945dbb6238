"""Partition states for tests, which have read some events."""

from __future__ import annotations

from dataclasses import replace

from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.protocol import ClaimReply, PartitionKeys, Token

CLAIMED = ClaimReply(
    epoch=7,
    checkpoint="0-0",
    processed=0,
    attempts=0,
    event="",
    unclean_tenures=0,
    paused=False,
    quarantined=False,
    lost=None,
    exact=True,
    checkpoint_exists=False,
    next_id="",
)


def events(*numbers: int) -> list[Raw]:
    return [[b"%d-0" % number, [b"f", b"v"]] for number in numbers]


def state(*numbers: int, **claimed: object) -> PartitionState:
    """A partition that has read events with these numbers; its claim named the first."""
    if numbers:
        claimed = {"next_id": f"{numbers[0]}-0", **claimed}
    reply = replace(CLAIMED, **claimed)  # type: ignore[arg-type]
    found = PartitionState(0, PartitionKeys("p", "work"), 1, Token(7, "n"), reply)
    if numbers:
        request = found.next_read(100)
        assert request
        assert found.take_in(request, events(*numbers), cursor_exists=True)
    return found


def unverified(*numbers: int) -> PartitionState:
    """A partition that committed event 1 and has read these without verifying that it exists."""
    it = state(1)
    it.hand_out(1)
    it.finish()
    move = it.next_commit()
    assert move
    it.committed(move)
    request = it.next_read(100)
    assert request
    assert not request.verify
    assert it.take_in(request, events(*numbers), cursor_exists=False)
    assert it.unverified_from == "1-0"
    return it
