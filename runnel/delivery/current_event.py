"""The event that the running handler has in hand, so that `send` knows if its caller is a handler.

A handler that waits for room in a partition that it holds back itself would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple


class InHand(NamedTuple):
    """The handler of this processor has an event of this log in hand."""

    log: str
    processor: str
    #: Does the processor's checkpoint stay at this id until the handler goes on?
    stuck_at: Callable[[str], bool]


#: That of the handler that runs here; also in threads that it started.
IN_HAND: ContextVar[InHand | None] = ContextVar("in_hand", default=None)
