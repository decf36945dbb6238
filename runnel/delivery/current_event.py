"""What the handler that runs here has in hand: who sends from it can be told from others."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple


class InHand(NamedTuple):
    """An event of this log is in the hand of this processor's handler."""

    log: str
    processor: str
    #: Given the processor's checkpoint: will it stay there until the handler goes on?
    stuck_at: Callable[[str], bool]


#: That of the handler which runs here, in threads that it started, too.
IN_HAND: ContextVar[InHand | None] = ContextVar("in_hand", default=None)
