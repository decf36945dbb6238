"""The current event of the running handler, so that `send` knows if its caller is a handler.

A handler that waits for room in a partition that it holds back itself would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple


class CurrentEvent(NamedTuple):
    """The current event of a handler is one of this log, for this processor."""

    log: str
    processor: str
    #: Does the processor's checkpoint stay at this id until the handler has finished its event?
    stuck_at: Callable[[str], bool]


#: That of the handler that runs here; also in threads that it started.
CURRENT_EVENT: ContextVar[CurrentEvent | None] = ContextVar("current_event", default=None)
