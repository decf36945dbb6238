"""The current event of the running handler, to which all that belongs that it emits and writes.

A handler that waits for room in a partition that it holds back itself would wait for ever, so
`send`, too, asks whether its caller is a handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import NamedTuple

from runnel.core.table_state import Field, LentValues
from runnel.protocol import Entry, Sink


class CurrentEvent(NamedTuple):
    """The current event of a handler is one of this log, for this processor."""

    log: str
    processor: str
    #: Does the processor's checkpoint stay at this id until the handler has finished its event?
    stuck_at: Callable[[str], bool]
    #: Has the handler an event, which it has not finished?
    has_event: Callable[[], bool]
    #: The tables of the partition, if there are any.
    tables: LentValues | None = None
    #: Reads fields of these tables from Redis.
    load: Callable[[list[Field]], Awaitable[None]] | None = None
    #: `LentValues.run` while that handler runs.
    run: int = 0
    #: Has the handler failed or been ended? Its code may go on for a moment, to clean up.
    over: Callable[[], bool] | None = None
    #: Adds an entry to a sink with the commit of the current events.
    emit: Callable[[Sink, Entry], None] | None = None


#: That of the handler that runs here; also in threads that it started.
CURRENT_EVENT: ContextVar[CurrentEvent | None] = ContextVar("current_event", default=None)
