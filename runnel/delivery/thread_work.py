"""What a thread does for one partition: it processes events, one after the other.

The thread and the event loop share this, and no lock. Each attribute has one writer while the
thread runs: the loop appends to `todo`, and the thread takes from it and counts what is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, Protocol

from runnel.core.own_effects import OwnEffects
from runnel.core.partition import PartitionState
from runnel.core.pending_effects import MOST_ENTRIES
from runnel.core.reading import Raw
from runnel.core.table_state import MOST_BYTES, MOST_FIELDS, Field
from runnel.current_event import CURRENT_EVENT, CurrentEvent

#: Seconds after which a thread lets another partition have it, if one waits for a thread.
TURN = 0.05


class Loop(Protocol):
    """What the event loop says to the thread, and is told. The thread calls all of it."""

    def clock(self) -> float:
        """Monotonic seconds."""
        ...

    def begins(self, now: float) -> bool:
        """May the next event begin at this time? If so, it does."""
        ...

    def wake(self, now: float) -> None:
        """An event is done, and others follow."""
        ...

    def others_wait(self) -> bool:
        """Do other partitions wait for a thread?"""
        ...


class ThreadWork:
    """Events to process, and what became of them.

    `call` processes what `make` has made of a raw event. `unsettled` tells if its result has
    something that only the event loop can run. `here` is the current event of the handler.
    """

    def __init__(
        self,
        state: PartitionState,
        here: CurrentEvent,
        make: Callable[[Raw], Any],
        call: Callable[[Any], Any],
        unsettled: Callable[[Any], bool],
    ) -> None:
        self._state = state
        self._here = here
        self._make = make
        self._call = call
        self._unsettled = unsettled
        #: The events that were not begun.
        self.todo: deque[Raw] = deque()
        #: How many events are done.
        self.done = 0
        #: What the done events have written, each with its number: it was the so many-th to be
        #: done. Those that wrote nothing are left out.
        self.effects: deque[tuple[int, OwnEffects]] = deque()
        #: What these wrote to tables. Later events must see it before the loop has finished these.
        self.before: dict[Field, bytes | None] = {}
        self._entries = self._bytes = 0
        #: They wrote as much as a commit may hold: the loop must make some before it goes on.
        self._full = False
        #: Why the event in hand is not done: what the function raised, or a result that the loop
        #: must settle.
        self.error: BaseException | None = None
        self.result: Any = None
        #: What the event in hand writes, and as which event the function sees it.
        self.own, self.here = self._fresh()

    def _fresh(self) -> tuple[OwnEffects, CurrentEvent]:
        own, over = OwnEffects(self._state, self.before), self._here.over
        here = self._here._replace(
            tables=own.tables,
            run=own.tables.run if own.tables is not None else 0,
            emit=own.emit,
            over=lambda: own.closed or (over is not None and over()),
        )
        return own, here

    # In the thread

    def run(self, loop: Loop) -> None:
        """Process events until none is left, the loop says so, or one is not done: see `error` and
        `result`."""
        todo, clock, begins, wake = self.todo, loop.clock, loop.begins, loop.wake
        make, call, unsettled = self._make, self._call, self._unsettled
        CURRENT_EVENT.set(self.here)
        now = clock()
        until = now + TURN
        while todo and begins(now):
            raw = todo.popleft()
            try:
                # What it changes in its context is not for other events.
                result = copy_context().run(call, make(raw))
                if result is not None and unsettled(result):
                    self.result = result
                    return
                if self.own.used:
                    self.keep_effects()
                    CURRENT_EVENT.set(self.here)
            except BaseException as error:  # It is the failure of this event, whatever it is.
                self.error = error
                self.own.close()
                return
            self.done += 1
            now = clock()
            if todo:
                wake(now)
            if self._full or (now > until and loop.others_wait()):
                return

    def keep_effects(self) -> None:
        """The event in hand is done: keep what it has written. Raises EncodeError and TooManyWrites
        for a value that was changed in place."""
        own = self.own
        own.done()
        if own:
            self.effects.append((self.done + 1, own))
            self.before.update(own.writes)
            self._entries += len(own.emitted)
            self._bytes += own.size
            self._full = (
                len(self.before) > MOST_FIELDS
                or self._bytes > MOST_BYTES
                or self._entries >= MOST_ENTRIES
            )
        self.own, self.here = self._fresh()

    # In the event loop, while no thread runs

    def begin(self) -> None:
        """A thread is about to run. All that is done was finished."""
        self.before.clear()
        self._entries = self._bytes = 0
        self._full = False
