"""Gives a thread the events of one partition ahead, so that it need not ask the loop for each.

The event in hand is the current one of the partition, as for every handler. Those ahead of it stay
in the buffer until it is their turn: if the run ends, whatever the reason, they are still there.
The loop follows the thread: it finishes what the thread has processed, in order, and makes the next
event current.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice, takewhile
from typing import Any, Protocol

from runnel.codec.entry import EntryCodec
from runnel.core.own_effects import OwnEffects
from runnel.core.reading import Raw
from runnel.core.table_state import Field
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.delivery.handout import Handout
from runnel.delivery.loop_waker import waker_of
from runnel.delivery.middleware_chain import MiddlewareChain
from runnel.delivery.thread_work import ThreadWork

#: The most events that a thread has; and the most if they must be decoded in the loop, since their
#: records take memory.
MOST_AHEAD, MOST_DECODED = 500, 20
#: Seconds for which a thread does not wake the loop at first, and while it processes several events
#: in that time: many short events are finished together, and have one commit. The loop comes by
#: itself then, in case that a long one follows.
QUIET = 0.005


class Threads(Protocol):
    """Threads that the partitions of a processor share."""

    @property
    def crowded(self) -> bool:
        """Does a call wait for a thread?"""
        ...

    async def run(self, call: Callable[[Any], Any], argument: Any) -> Any:
        """`call(argument)` in a thread."""
        ...


class Ahead:
    """The events of one run of a handler whose function runs in a thread.

    `call` processes what `make` has made of a raw event. `unsettled` tells if its result has
    something that only the event loop can run: `settle` runs it.
    """

    chain: MiddlewareChain | None = None

    def __init__(
        self,
        handout: Handout,
        codec: EntryCodec[Any],
        make: Callable[[Raw], Any],
        here: CurrentEvent,
        threads: Threads,
        call: Callable[[Any], Any],
        unsettled: Callable[[Any], bool],
    ) -> None:
        self._handout, self._queue = handout, handout.queue
        self._state, self._session = handout.queue.state, handout.queue.session
        self.clock = handout.queue.session.clock
        self._decode, self._decodes_ahead = codec.decode, not codec.thread_safe
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._load = here.load
        here = here._replace(load=self._load_from_anywhere)
        self._work = ThreadWork(self._state, here, make, call, unsettled)
        #: The effects of an event without any.
        self._nothing = OwnEffects(self._state)
        #: How many events the thread was given, and how many of them are finished.
        self._given = self._finished = 0
        #: Nothing is finished any more: the partition may have another run of the handler.
        self._over = False
        #: The loop was woken, and has not come yet.
        self._waking = False
        #: Until when the thread does not wake the loop, and what wakes the loop then: None while no
        #: thread runs that has several events.
        self._quiet_until = 0.0
        self._quiet_ends: asyncio.TimerHandle | None = None
        self._waker = waker_of(self._loop)
        #: When the event in hand began, in this run of the thread; 0.0 for none.
        self._began = 0.0
        #: What to add to the thread's clock for the loop's.
        self._offset = 0.0

    async def run(self, settle: Callable[[Any], Awaitable[None]]) -> None:
        """Process events until they end. Raises the failure of one."""
        work = self._work
        while await self._take():
            flush, go_on = self._queue.one_by_one, True
            while go_on:
                await self._run_thread()
                if (error := work.error) is not None:
                    work.error = None
                    raise _raisable(error)
                if work.result is not None:
                    await self._settle(settle)
                go_on = self._goes_on()
            if flush and not self._handout.closed:
                await self._queue.flush()
                self._queue.release_start_lock()

    async def _take(self) -> bool:
        """Wait for an event. Returns False at the end."""
        handout = self._handout
        await handout.enter(self)
        handout.waiting = True
        try:
            raws = await handout.take(1)
        finally:
            handout.waiting = False
        if not raws:
            return False
        if self._decodes_ahead:
            self._decode_now(raws[0])
        self._give(raws)
        self._give_more()
        return True

    async def _run_thread(self) -> None:
        self._work.begin()
        self._began, self._offset = 0.0, self._loop.time() - self.clock()
        self._quiet_until = 0.0
        if len(self._work.todo) > 1:
            self._be_quiet()
        try:
            with self._handout.uncancellable():
                await self._threads.run(self._work.run, self)
        finally:
            if self._quiet_ends is not None:
                self._quiet_ends.cancel()
                self._quiet_ends = None
        if not self._handout.closed:
            self._finish_done()

    def _be_quiet(self) -> None:
        if self._quiet_ends is not None:
            self._quiet_ends.cancel()
        self._quiet_until = self.clock() + QUIET
        self._quiet_ends = self._loop.call_later(QUIET, self._note)

    async def _settle(self, settle: Callable[[Any], Awaitable[None]]) -> None:
        """The function has returned something that runs in the loop, such as a coroutine."""
        work = self._work
        result, work.result = work.result, None
        before = CURRENT_EVENT.set(work.here)
        try:
            await settle(result)
            work.keep_effects()
        except BaseException:
            work.own.close()
            raise
        finally:
            CURRENT_EVENT.reset(before)
        if not self._handout.closed:  # Else it swallowed that it was cancelled, and was given up.
            work.done += 1
            self._finish_done()

    def _goes_on(self) -> bool:
        """Is there a next event for the thread? Otherwise what it has not begun is given back."""
        if self._given == self._finished or self._handout.closed:
            return False
        if self._may_begin(self.clock()):
            self._handout.next_begins()
            return True
        self._work.todo.clear()
        self._given = self._finished
        self._state.rewind()
        return False

    def stop_shortcut(self) -> None:
        """Finish what is done: if the handout is closed, nothing may be finished later."""
        if not self._over:
            self._finish_done()
        self._over = self._handout.closed

    # What the thread has

    def _give(self, raws: Sequence[Raw]) -> None:
        self._given += len(raws)
        self._work.todo.extend(raws)

    def _give_more(self) -> None:
        have = self._given - self._finished
        most = MOST_DECODED if self._decodes_ahead else MOST_AHEAD
        if have > most // 2:
            return
        raws = self._following(have - 1, most - have)
        if self._decodes_ahead:
            for at, raw in enumerate(raws):
                try:
                    self._decode_now(raw)
                except Exception:  # It fails once it is current.
                    raws = raws[:at]
                    break
        self._give(raws)

    def _following(self, after: int, most: int) -> Sequence[Raw]:
        """Up to `most` events of the buffer, without the first `after`, that a thread may process
        without asking for each. They stay in the buffer."""
        state = self._state
        if not state.open or not self._queue.may_go_ahead:
            return ()
        raws = list(islice(state.buffer, after, after + most))
        if state.keys_parked:
            return list(takewhile(lambda raw: not state.parking.has_key_of(raw), raws))
        return raws

    def _decode_now(self, raw: Raw) -> None:
        if len(raw) == 2:
            raw.append(self._decode(raw[1]))

    # What the thread has done

    def _note(self) -> None:
        # Before `done` is read: what the thread does from now on wakes the loop again.
        self._waking, self._quiet_until = False, 0.0
        if not self._handout.closed:
            before = self._finished
            self._finish_done()
            if self._given > self._finished:
                self._give_more()
                if self._quiet_ends is not None and self._finished > before + 1:
                    self._be_quiet()

    def _finish_done(self) -> None:
        """Finish what is done. The next event of those given is current then."""
        work = self._work
        first, done = self._finished + 1, work.done
        if done < first:
            return
        effects: list[OwnEffects] = []
        if work.effects and work.effects[0][0] <= done:
            effects = [self._nothing] * (done - self._finished)
            while work.effects and work.effects[0][0] <= done:
                number, own = work.effects.popleft()
                own.show()
                effects[number - first] = own
        self._finished = done
        self._advance(done - first + 1, effects, more=self._given > done)

    def _advance(self, count: int, effects: Sequence[OwnEffects], more: bool) -> None:
        """The current event is finished, and those of the buffer that follow it, `count` together;
        the next one is current then if there is `more`. `effects` are theirs, if any has some."""
        state, buffer, queue = self._state, self._state.buffer, self._queue
        size = len(buffer)
        following = [buffer.popleft() for _ in range(count - 1 + more)]
        if following:
            state.current = [*state.current, *following]
        if effects:
            queue.finish_each(effects)
        else:
            queue.finish(count)
        queue.taken_from(size)

    # For the thread: see `thread_work.Loop`

    def _may_begin(self, now: float) -> bool:
        state = self._state
        return state.open and now < self._session.ends and not state.overloaded

    def begins(self, now: float) -> bool:
        if self._handout.closed or not self._may_begin(now):
            return False
        if (watch := self._handout.stopwatch) is not None:
            if self._began and now - self._began > watch.seconds:
                return False  # The loop reports that the event before took too long.
            self._began = now
            watch.restart(now + self._offset)
        return True

    def wake(self, now: float) -> None:
        if now < self._quiet_until:
            return
        if not self._waking:
            self._waking = True
            self._waker.call(self._note, now)
        self._waker.let_run(now)

    def others_wait(self) -> bool:
        return self._threads.crowded

    async def _load_from_anywhere(self, fields: list[Field]) -> None:
        """Read fields of tables: the function may do so in an event loop of its own."""
        if asyncio.get_running_loop() is self._loop:
            await self._load_here(fields)
        else:
            reading = asyncio.run_coroutine_threadsafe(self._load_here(fields), self._loop)
            await asyncio.wrap_future(reading)

    async def _load_here(self, fields: list[Field]) -> None:
        work, tables = self._work, self._state.tables
        assert self._load is not None
        assert work.own.tables is not None
        assert tables is not None
        unknown = work.own.tables.unknown_of(fields)
        await self._load(unknown)
        # The partition may forget them when events before this one are finished.
        work.before.update((field, tables.get(field)) for field in unknown)


def _raisable(error: BaseException) -> BaseException:
    """No coroutine can raise StopIteration."""
    if not isinstance(error, StopIteration):
        return error
    instead = RuntimeError("the handler raised StopIteration")
    instead.__cause__ = error
    return instead
