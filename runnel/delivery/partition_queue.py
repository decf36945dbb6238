"""Hands out the events of one held partition, and waits where the partition, which is pure, must
not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from runnel.core.partition import PartitionState, Raw
from runnel.delivery.recorded_start_lock import LONGEST_WAIT, RecordedStartLock
from runnel.delivery.session import Session
from runnel.errors import WorkerDied

#: Seconds for which a middleware may hold an event back while nothing follows.
HELD_BACK = 1.0


class PartitionQueue:
    """A partition with what it takes to wait for it.

    `session` says whether the worker is certain to be a member: nothing is handed out while it is
    not.
    `turn` is held while an event is processed in whose processing a worker died.
    `mark` is told of a partition that has something to commit, `poke` of one that has room for
    more. `record_start` notes in Redis which event is about to be processed, and raises no refusal.
    """

    def __init__(
        self,
        state: PartitionState,
        *,
        commit_each: bool,
        prefetch: int,
        retries: int,
        session: Session,
        turn: RecordedStartLock,
        mark: Callable[[PartitionState], None],
        wake: Callable[[PartitionState], None],
        record_start: Callable[[PartitionState, str], Awaitable[None]],
    ) -> None:
        self.state = state
        self.partition = state.partition
        self.changed = asyncio.Event()
        self._suspicion = state.suspicion
        self._commit_each = commit_each
        self._prefetch = prefetch
        state.enough = min(state.enough, prefetch)
        self._retries = retries
        self._session = session
        self._turn = turn
        self._mark = mark
        self._poke = wake
        self._record_start = record_start
        #: Until when a list may fill up, and its first event; until when nothing may come for an
        #: empty list. They outlive a wait that is cancelled: whoever gives up waiting sooner than
        #: that, again and again, is given events all the same.
        self._filling: tuple[bytes, float] = (b"", 0.0)
        self._quiet: float | None = None
        #: Until when a middleware may hold events back, and the last of these.
        self._held: tuple[bytes, float] = (b"", 0.0)
        #: The event whose start is recorded, and the call that records it.
        self._starting: tuple[bytes, asyncio.Future[None]] | None = None

    def next(self) -> Raw | None:
        """The next event if it can be given at once; the one before is finished."""
        state = self.state
        if self._commit_each or self._suspicion.careful:
            return None
        if state.in_hand:
            state.finish()
            if not state.commit_scheduled:
                self._mark(state)
        buffer = state.buffer
        if not buffer or not state.open or not self._session.alive():
            return None
        raw = buffer.popleft()
        state.in_hand = (raw,)
        if len(buffer) == state.enough:
            self._poke(state)
        return raw

    async def take(
        self,
        limit: int,
        within: float | None = None,
        *,
        empty: bool = False,
        finish: int | None = None,
    ) -> Sequence[Raw] | None:
        """Up to `limit` events more. None once no more will be given.

        Those in hand are finished, or the first `finish` of them; the others are, too, if nothing
        follows soon. `within` waits that many seconds for the list to fill up; with
        `empty` it is given out with nothing in it if nothing came by then. A wait that is cancelled
        leaves everything as it was.

        Raises WorkerDied with the event in hand that is condemned.
        """
        state = self.state
        unsure, tried = self._suspicion.unsure, bool(state.in_hand)
        if state.finish(finish):
            self._mark(state)
            if self._commit_each or unsure:
                await self.flush()
        if tried or not self._suspicion.on_trial:  # Else its place in the queue outlives a wait.
            self.give_turn()
        if state.in_hand and not await self._may_be_held():
            return await self.take(limit, within, empty=empty)
        at_once = state.buffer and state.open and self._session.alive()
        if not at_once and not await self._come(within if empty else None):
            self._quiet = None
            return []
        self._quiet = None
        if within is not None and not self._suspicion.one_by_one:
            await self._fill(limit, within)
        if self._suspicion.on_trial:
            await self._trial()
        await self._until_certain()
        if self._suspicion.recorded and state.open:
            await self._record(state.buffer[0][0])
            await self._until_certain()
        if not state.open:
            self.give_turn()
            return None
        raws = state.hand_out(limit)
        self._starting = None
        if state.wants(self._prefetch):
            self._poke(state)
        if self._suspicion.condemns(raws[0][0], self._retries):
            raise WorkerDied(
                f"event {raws[0][0].decode()} failed or ended its worker "
                f"{self._suspicion.attempts} times"
            )
        return raws

    def finish(self, count: int) -> None:
        """The first `count` events in hand are done."""
        if count and self.state.finish(count):
            self._mark(self.state)

    async def commit(self, count: int | None = None) -> None:
        """Finish what was given out, or the first `count` events of it, and wait until that is
        committed."""
        if self.state.finish(count):
            self._mark(self.state)
            await self.flush()
        self.give_turn()

    def give_turn(self) -> None:
        """Let another partition of this worker try an event under suspicion."""
        self._turn.give(self)

    async def flush(self) -> None:
        """Wait until nothing that was read is in doubt and all that is finished is committed, or
        the token is spent."""
        if self.state.unverified_from is not None:
            self._mark(self.state)
        while not ((self.state.clean and self.state.unverified_from is None) or self.state.over):
            self.changed.clear()
            await self.changed.wait()

    async def rest(self) -> None:
        """Wait until all that was read is finished and committed, or no more is handed out."""
        while self.state.open and not self.state.at_rest:
            self.changed.clear()
            await self.changed.wait()

    async def pause(self, seconds: float) -> None:
        """Wait that long, or until the partition is wanted elsewhere."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self.state.open and await self._stirs(deadline):
            pass

    async def _stirs(self, deadline: float) -> bool:
        """Wait for a change. Returns False at the deadline, a moment of the loop's clock."""
        if deadline <= asyncio.get_running_loop().time():
            return False
        self.changed.clear()
        try:
            async with asyncio.timeout_at(deadline):
                await self.changed.wait()
        except TimeoutError:
            return False
        return True

    async def _may_be_held(self) -> bool:
        """May a middleware hold back what it took and did not pass on, since more comes soon? Else
        that counts as dropped. Where starts are recorded it may not: the last one is to blame."""
        state = self.state
        if self._suspicion.recorded or len(state.in_hand) > self._prefetch:
            return False
        last: bytes = state.in_hand[-1][0]
        if last != self._held[0]:
            self._held = last, asyncio.get_running_loop().time() + HELD_BACK
        while state.open and not state.buffer:
            self._poke(state)
            if not await self._stirs(self._held[1]):
                return False
        return True

    async def _come(self, within: float | None) -> bool:
        """Wait for an event, or for the end. Returns False if neither came `within` seconds."""
        state = self.state
        if within is not None and self._quiet is None:
            self._quiet = asyncio.get_running_loop().time() + within
        try:
            async with asyncio.timeout_at(self._quiet):
                while state.open and not (state.buffer and self._session.alive()):
                    await self._wait_for_event()
        except TimeoutError:
            await self._until_certain()
            return bool(state.buffer) or not state.open
        return True

    async def _wait_for_event(self) -> None:
        if self.state.buffer:
            await self._session.renewed()
        else:
            self._poke(self.state)
            self.changed.clear()
            await self.changed.wait()

    async def _until_certain(self) -> None:
        """Wait, as long as anything may be handed out, until the session is certain to last."""
        while self.state.open and not self._session.alive():
            await self._session.renewed()

    async def _fill(self, limit: int, within: float) -> None:
        """Wait until there are so many, or no more will be read before some are handed out."""
        state = self.state
        if state.open and self._filling[0] != state.buffer[0][0]:
            self._filling = state.buffer[0][0], asyncio.get_running_loop().time() + within
        deadline = self._filling[1]
        while state.open and len(state.buffer) < limit:
            if not state.reading and state.full(self._prefetch):
                return
            self._poke(state)
            if not await self._stirs(deadline):
                return

    async def _trial(self) -> None:
        """Wait until no other partition of this worker tries an event under suspicion."""
        deadline = asyncio.get_running_loop().time() + LONGEST_WAIT
        while self.state.open and not self._turn.take(self, self.changed):
            if not await self._stirs(deadline):
                return

    async def _record(self, event: bytes) -> None:
        """Have the start of an event recorded, once. The call goes on if this wait is cancelled."""
        if self._starting is None or self._starting[0] != event:
            call = self._record_start(self.state, event.decode())
            self._starting = event, asyncio.ensure_future(call)
        starting = self._starting[1]
        try:
            await asyncio.shield(starting)
        except BaseException:
            if starting.done():  # Not this wait was cut off, but the call itself.
                self._starting = None
            raise
