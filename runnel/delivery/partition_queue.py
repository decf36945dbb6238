"""Hands out the events of one held partition.

`PartitionState` is pure; the waiting is done here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from runnel.core.own_effects import OwnEffects, finish_each
from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.core.window import Window
from runnel.delivery.deadlines import LOOP, Deadlines
from runnel.delivery.partition_waits import PartitionWaits
from runnel.delivery.recorded_start_lock import LONGEST_WAIT, RecordedStartLock
from runnel.delivery.session import Session
from runnel.errors import WorkerDied
from runnel.protocol import InHandCount

#: Seconds for which a middleware may hold an event back while no other event follows.
HELD_BACK = 1.0


class PartitionQueue(PartitionWaits):
    """A partition, and the means to wait for its events and commits.

    Nothing is handed out while `session` may have ended. `start_lock` is held while an event is
    processed that may have killed a worker. `schedule_commit` is called with a state that has
    something to commit, `wake` with one whose buffer has room. `record_start` stores in Redis which
    event is about to be processed; it does not raise if Redis refuses that. Its waits are measured
    by `deadlines`.
    """

    def __init__(
        self,
        state: PartitionState,
        *,
        commit_each: bool,
        prefetch: int,
        retries: int,
        session: Session,
        start_lock: RecordedStartLock,
        schedule_commit: Callable[[PartitionState], None],
        wake: Callable[[PartitionState], None],
        record_start: Callable[[PartitionState, str], Awaitable[None]],
        deadlines: Deadlines = LOOP,
    ) -> None:
        super().__init__(state, schedule_commit, deadlines)
        self.partition = state.partition
        self._suspicion = state.suspicion
        self._commit_each = commit_each
        self._prefetch = prefetch
        state.buffer_limit = min(state.buffer_limit, prefetch)
        self._retries = retries
        self._session = session
        self._start_lock = start_lock
        self._wake = wake
        self._record_start = record_start
        #: The first event of the list that is being filled, and when to hand the list out; and when
        #: to hand out an empty list. They survive a wait that is cancelled: a handler that waits
        #: for less time than that, again and again, gets its events all the same.
        self._filling: tuple[bytes, float] = (b"", 0.0)
        self._empty_at: float | None = None
        #: The last event that a middleware holds back, and until when it may do so.
        self._held_back: tuple[bytes, float] = (b"", 0.0)
        #: The event whose start is recorded, and the call that records it.
        self._starting: tuple[bytes, asyncio.Future[None]] | None = None
        #: Where the order of the current events is, if several are processed at the same time.
        self.window: Window | None = None

    def next(self) -> Raw | None:
        """The next event if no wait is needed; the event before is finished then. Otherwise None:
        call `take`."""
        state = self.state
        if self._commit_each or self._suspicion.careful or state.keys_parked:
            return None
        if state.current:
            state.finish()
            if not state.commit_scheduled:
                self._schedule_commit(state)
        buffer = state.buffer
        if not buffer or not state.open or not self._session.alive():
            return None
        if state.effects is not None and state.overloaded:
            return None
        raw = buffer.popleft()
        state.current = (raw,)
        if len(buffer) == state.buffer_limit:
            self._wake(state)
        return raw

    async def take(
        self,
        limit: int,
        within: float | None = None,
        *,
        empty: bool = False,
        finish: int | None = None,
    ) -> Sequence[Raw] | None:
        """Up to `limit` more events, or None once no more will be handed out.

        The current events are finished. With `finish`, only so many of them are, and the others if
        no event follows within `HELD_BACK` seconds. With `within`, wait that many seconds for the
        list to fill up; with `empty`, return an empty list if nothing came in that time. A wait
        that is cancelled changes nothing.

        Raises WorkerDied if the next event has killed workers too often. It is current then.
        """
        state = self.state
        commit_first, tried = self._suspicion.commit_first or state.alone, bool(state.current)
        if state.finish(finish):
            self._schedule_commit(state)
            if self._commit_each or commit_first:
                await self.flush()
        while state.overloaded and state.open:
            self.changed.clear()
            await self.changed.wait()
        if tried or not self._suspicion.alone:  # Otherwise a cancelled wait would lose its turn.
            self.release_start_lock()
        if state.current and not await self._may_be_held_back():
            return await self.take(limit, within, empty=empty)
        at_once = state.open and self._ready() and self._session.alive()
        if not at_once and not await self._wait_for_events(within if empty else None):
            self._empty_at = None
            return []
        self._empty_at = None
        if within is not None and not (self._suspicion.one_by_one or state.alone):
            await self._fill(limit, within)
        if self._suspicion.alone:
            await self._acquire_start_lock()
        await self._wait_for_session()
        recorded = b""
        while self._suspicion.recorded and state.open and recorded != state.next_id:
            recorded = state.next_id  # Meanwhile a postponed event may be due, and come first.
            await self._record(recorded)
            await self._wait_for_session()
        if not state.open:
            self.release_start_lock()
            return None
        raws = state.hand_out(limit)
        self._starting = None
        if state.next_read(self._prefetch) or (state.has_parked and not state.parking.due):
            self._wake(state)
        if self._suspicion.kills_workers(raws[0][0], self._retries):
            raise WorkerDied(
                f"event {raws[0][0].decode()} failed or ended its worker "
                f"{self._suspicion.attempts} times"
            )
        return raws

    def take_beside(self, limit: int) -> Sequence[Raw]:
        """Up to `limit` further events, beside the current ones. None if there are none, or if none
        may be handed out now: then wait with `next_change`."""
        state = self.state
        if limit < 1 or not state.open or state.overloaded or not self._session.alive():
            return ()
        if not self._ready():
            return ()
        raws = state.hand_out(limit)
        if state.next_read(self._prefetch):
            self._wake(state)
        return raws

    def finish_each(self, effects: Sequence[OwnEffects | None]) -> None:
        """The first current events are finished: see `core.own_effects.finish_each`."""
        if finish_each(self.state, effects):
            self._schedule_commit(self.state)

    @property
    def in_hand(self) -> InHandCount:
        """How many events are current, and how many of these are done ahead of the others."""
        events = len(self.state.current)
        ahead = self.window.finished_ahead if self.window is not None else 0
        return InHandCount(events, min(events, ahead))

    @property
    def in_session(self) -> bool:
        """Is the session certain to be alive?"""
        return self._session.alive()

    @property
    def lapses(self) -> int:
        """How often the session may have ended so far."""
        return self._session.lapses

    async def next_change(self) -> None:
        """Wait for an event, a reply, or whatever sets `changed`; without a session, also for its
        renewal."""
        if not self.state.buffer:
            self._wake(self.state)
        self.changed.clear()
        if self._session.alive():
            await self.changed.wait()
            return
        waits: list[asyncio.Future[object]] = [
            asyncio.ensure_future(self.changed.wait()),
            asyncio.ensure_future(self._session.renewed()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    def finish(self, count: int) -> None:
        """The first `count` current events are finished."""
        if count and self.state.finish(count):
            self._schedule_commit(self.state)

    # For a thread that processes several events in a row: see `delivery.ahead`

    @property
    def session(self) -> Session:
        """The session without which nothing is handed out."""
        return self._session

    @property
    def one_by_one(self) -> bool:
        """Must each event be asked for, and is it committed before the next?"""
        return self._commit_each or self._suspicion.careful or self.state.alone

    @property
    def may_go_ahead(self) -> bool:
        """May a thread have events ahead of the one in hand?"""
        return not self.one_by_one

    def taken_from(self, size: int) -> None:
        """Events were taken from the buffer, which had so many: is there room to read?"""
        if size > self.state.buffer_limit >= len(self.state.buffer):
            self._wake(self.state)

    async def commit(self, count: int | None = None) -> None:
        """Finish the current events, or the first `count` of them, and wait for the commit."""
        if self.state.finish(count):
            self._schedule_commit(self.state)
            await self.flush()
        self.release_start_lock()

    def look_for_due(self) -> None:
        """An event was postponed: its time is to be known."""
        self._wake(self.state)

    def release_start_lock(self) -> None:
        """Let another partition of this worker process an event that may have killed a worker."""
        self._start_lock.release(self)

    async def _may_be_held_back(self) -> bool:
        """May a middleware hold back the events that it took and did not yield, because another
        one comes soon? Otherwise they count as dropped. It may not where starts are recorded: there
        the last event would be blamed for the others."""
        state = self.state
        if self._suspicion.recorded or len(state.current) > self._prefetch:
            return False
        last: bytes = state.current[-1][0]
        if last != self._held_back[0]:
            self._held_back = last, self.deadlines.now() + HELD_BACK
        while state.open and not self._ready():
            if state.parking.aside_full:
                return False
            self._wake(state)
            if not await self._wait_for_change(self._held_back[1]):
                return False
        return True

    async def _wait_for_events(self, within: float | None) -> bool:
        """Wait for an event, or until the partition is not open any more. Returns False if neither
        happened `within` seconds."""
        state = self.state
        if within is not None and self._empty_at is None:
            self._empty_at = self.deadlines.now() + within
        try:
            async with self.deadlines.at(self._empty_at):
                while state.open and not (self._ready() and self._session.alive()):
                    await self._wait_for_event()
        except TimeoutError:
            await self._wait_for_session()
            return self._ready() or not state.open
        return True

    def _ready(self) -> bool:
        """Is there an event for the handler? Those of parked keys before it are parked, too."""
        ready = self.state.ready()
        if self.state.keys_parked and not self.state.all_committed:
            self._schedule_commit(self.state)
        return ready

    async def _wait_for_event(self) -> None:
        if self.state.buffer and not self._session.alive():
            await self._session.renewed()
        else:
            self._wake(self.state)
            self.changed.clear()
            await self.changed.wait()

    async def _wait_for_session(self) -> None:
        """Wait until the session is certain to be alive, or the partition is not open any more."""
        while self.state.open and not self._session.alive():
            await self._session.renewed()

    async def _fill(self, limit: int, within: float) -> None:
        """Wait for `limit` events, or until no more are read before some are handed out."""
        state = self.state
        if state.open and self._filling[0] != state.buffer[0][0]:
            self._filling = state.buffer[0][0], self.deadlines.now() + within
        deadline = self._filling[1]
        while state.open and len(state.buffer) < limit:
            if not state.reading and state.full(self._prefetch):
                return
            self._wake(state)
            if not await self._wait_for_change(deadline):
                return

    async def _acquire_start_lock(self) -> None:
        deadline = self.deadlines.now() + LONGEST_WAIT
        while self.state.open and not self._start_lock.acquire(self, self.changed):
            if not await self._wait_for_change(deadline):
                return

    async def _record(self, event: bytes) -> None:
        """Record the start of an event, once. If this wait is cancelled, the call continues."""
        if self._starting is None or self._starting[0] != event:
            call = self._record_start(self.state, event.decode())
            self._starting = event, asyncio.ensure_future(call)
        starting = self._starting[1]
        try:
            await asyncio.shield(starting)
        except BaseException:
            if starting.done():  # The call itself has failed, and not only this wait.
                self._starting = None
            raise
