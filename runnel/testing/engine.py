"""Runs an app in a test: claims what has events, and knows when nothing is left to process."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from runnel.app import App
from runnel.core.partition import PartitionState
from runnel.errors import ConfigError
from runnel.harness import HandlerFailed, NotDrained
from runnel.lifespan import LifespanRun
from runnel.processor import Processor
from runnel.producer.observed_producer import producer_of
from runnel.producer.per_loop import PerLoop
from runnel.protocol.scripts import Call
from runnel.stream import StreamSpec
from runnel.testing.failures import quarantined
from runnel.testing.in_memory import MemoryScripts
from runnel.testing.left import described
from runnel.testing.life import Life
from runnel.testing.store import Store
from runnel.testing.stored import Group
from runnel.testing.virtual_time import VirtualTime
from runnel.testing.visible import Place, Visible
from runnel.worker.held_partitions import EndReason

#: Turns of the event loop without any call after which all that could go on has gone on.
CALM = 30
#: Seconds between two looks while user code waits for something, at first and at most.
SOON, LATER = 0.001, 0.01


class MemoryEngine(Visible):
    """One test of an app. `only` are the names of the processors that run; all, if there is none.

    A partition is claimed when it has its first event. What was claimed stays so until the end, and
    its handler keeps running, as in a worker.
    """

    def __init__(self, app: App, only: Sequence[str]) -> None:
        self._time = VirtualTime()
        super().__init__(Store(self._time.ms), app.choose(only))
        self._app = app
        self.store.on_call = self._called
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._calls = 0
        #: There may be something new to claim.
        self._more = True
        #: Why the worker has ended, since the last drain.
        self.halted: BaseException | None = None
        self._lives: dict[str, Life] = {}
        self._hooks: LifespanRun | None = None
        self._restore: Callable[[], None] = lambda: None

    async def start(self, *, lifespan: bool) -> None:
        """From here on, what the app sends comes here. Raises LifespanFailed."""
        app, timeout = self._app, self._app.settings.delivery_timeout
        before = app._producers, app.stopping

        def restore() -> None:
            app._producers, app.stopping = before

        self._restore = restore
        app._producers = PerLoop(
            lambda: producer_of(MemoryScripts(self.store), timeout, "primary", app.observers)
        )
        app.stopping = asyncio.Event()
        if lifespan:
            self._hooks = await app.hooks.begin()
            await self._hooks.started()

    async def close(self, *, quick: bool) -> None:
        """End what runs; `quick` if the test has failed. Raises LifespanFailed."""
        self._app.stopping.set()
        try:
            await self._end(kill=quick)
            if self._hooks is not None:
                await self._hooks.end(self._app.settings.shutdown_timeout, quiet=quick)
        finally:
            try:
                await self._app.close()
            finally:
                self._restore()

    async def _end(self, *, kill: bool = False) -> None:
        lives, self._lives = list(self._lives.values()), {}
        await asyncio.gather(*(each.kill() if kill else each.end() for each in lives))

    # Running

    async def drain(self, seconds: float, *, check: bool) -> None:
        """See `Harness.drain`."""
        __tracebackhide__ = True
        await self._run(self._loop.time() + seconds, self._is_done)
        await self._check(check)

    async def advance(self, seconds: float, limit: float) -> None:
        """See `Harness.advance`."""
        __tracebackhide__ = True
        until, ends = self._time.now + seconds, self._loop.time() + limit
        while True:
            await self._run(ends, self._is_done)
            await self._check(True)
            if self._time.now >= until:
                return
            due = (self._time.next(), self.store.next_due, until)
            self._move_to(min(each for each in due if each is not None))

    async def crash(self, seconds: float) -> None:
        """See `Harness.crash`."""
        __tracebackhide__ = True
        self._hold(True)
        try:
            await self._run(self._loop.time() + seconds, self._is_handed_out)
        finally:
            await self._end(kill=True)
            self._hold(False)
        await self._check(True)

    async def resume(self, processor: Processor) -> None:
        """See `Harness.resume`."""
        for place in self._places(processor):
            if place.group.quarantined:
                await self._release(place)
                self.store.resume(place.group)

    async def replay(self, processor: Processor) -> None:
        """See `Harness.replay`."""
        for place in self._places(processor):
            if place.group.parked_keys:
                await self._release(place)
                self.store.replay(place.group)

    async def _release(self, place: Place) -> None:
        if life := self._lives.get(place.processor.name):
            await life.release(place.partition)

    async def _run(self, ends: float, is_done: Callable[[], bool]) -> None:
        """Process until `is_done`, or until the worker has ended. Raises NotDrained."""
        __tracebackhide__ = True
        if self._is_open:
            raise ConfigError("one drain of a test at a time: another one is not over yet")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigError(
                "this test began in another event loop: enter `app.test()` in the loop in which "
                "the test runs, as by a fixture with the same loop scope"
            )
        self._open(True)
        self._more = True
        calm, pause, seen = 0, SOON, -1
        try:
            while self.halted is None:
                now = self._calls + self._time.changes
                if self._more or calm == CALM:
                    self._claim()
                calm, seen = (calm + 1 if now == seen else 0), now
                if calm <= CALM:
                    pause = SOON
                    await asyncio.sleep(0)
                elif is_done():
                    return
                elif self._only_waits():
                    self._move_to(self._time.next() or 0.0)
                else:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LATER)
                if self._loop.time() > ends:
                    raise NotDrained(described(self._unfinished(), self._queue, self.store))
        finally:
            self._open(False)

    def _move_to(self, when: float) -> None:
        """Move time on, and process what is due then."""
        self._time.move_to(when)
        self.store.promote()
        self._more = True
        for each in self._lives.values():
            each.backend.wake()

    def _open(self, is_open: bool) -> None:
        self._is_open = is_open
        for each in self._lives.values():
            each.backend.open = is_open
            each.backend.wake()

    def _hold(self, holds: bool) -> None:
        self._holds = holds
        for each in self._lives.values():
            each.backend.holds_commits = holds

    _is_open = _holds = False

    def _claim(self) -> None:
        """Claim each partition that has something to process and is not held."""
        self._more = False
        wanted: defaultdict[str, dict[int, Group]] = defaultdict(dict)
        for place in self._unfinished():
            name = place.processor.name
            if name not in self._lives:
                how = self._failed.note, self._fail, self._app.observers
                life = Life(place.processor, self.store, self._time, *how)
                life.backend.open, life.backend.holds_commits = self._is_open, self._holds
                self._lives[name] = life
            wanted[name][place.partition] = place.group
        for name, groups in wanted.items():
            self._lives[name].grant(groups)

    def _unfinished(self) -> Iterator[Place]:
        """Where something is left to process."""
        for log in list(self.store.logs):
            for place in self._readers.get(log, ()):
                group = place.group
                if group.quarantined:
                    continue
                if group.replay or self.store.lag(group) or self._comes_again(place):
                    yield place

    def _comes_again(self, place: Place) -> bool:
        """Is a postponed event due there, or in hand? It stays due until its try is committed."""
        if (state := self._state(place)) is not None and state.alone:
            return True
        due = place.group.next_due
        return due is not None and due <= self._time.ms()

    def _is_done(self) -> bool:
        return next(self._unfinished(), None) is None

    def _is_handed_out(self) -> bool:
        """Has each handler finished all that it can get before a commit is answered?"""
        return all(
            (state := self._state(place)) is not None
            and (state.skip_in_flight or not state.current)
            and not ((state.buffer or self._due_unread(place, state)) and state.all_committed)
            for place in self._unfinished()
        )

    def _due_unread(self, place: Place, state: PartitionState) -> bool:
        """Is a postponed event due that its handler has not had under this lease?"""
        tried, now = state.parking.known_due, self._time.ms()
        unread = any(due <= now and e not in tried for e, due in place.group.due.items())
        return bool(state.parking.due) or unread

    def _only_waits(self) -> bool:
        """Does everything that is not finished wait for a time, and nothing run?"""
        waits = False
        for place in self._unfinished():
            queue = self._queue(place)
            if queue is None or queue.changed.is_set():
                return False
            if self._time.waiting(queue.state):
                waits = True
            elif queue.state.current or not self._holds:
                return False
        return waits

    def _queue(self, place: Place) -> Any:
        life = self._lives.get(place.processor.name)
        return None if life is None else life.queues.get(place.partition)

    def _state(self, place: Place) -> PartitionState | None:
        queue = self._queue(place)
        return None if queue is None else queue.state

    # Failures

    async def _check(self, check: bool) -> None:
        """Raise HandlerFailed for what has failed for good since the last time."""
        __tracebackhide__ = True
        halted, self.halted = self.halted, None
        if halted is not None:
            await self._end()
        new = self._failed.new(each for p in self._processors for each in self.quarantined(p))
        if check and halted is not None:
            cause = halted.__cause__ or halted
            raise HandlerFailed(f"the worker has ended: {halted}") from cause
        if check and new:
            raise HandlerFailed(quarantined(new)) from new[0].error

    def _fail(self, reason: EndReason) -> None:
        self.halted = self.halted or reason

    def _called(self, call: Call) -> None:
        """A call was carried out, in any thread."""
        if threading.get_ident() == self._thread:
            self._after(call)
        else:
            with suppress(RuntimeError):  # The test, and its loop, may be over.
                self._loop.call_soon_threadsafe(self._after, call)

    def _after(self, call: Call) -> None:
        self._calls += 1
        self._more |= call.script != "commit"
        if call.script == "attempt":
            self._failed.take_in(call, self._stream_of(call))
        for each in self._lives.values():
            each.backend.wake()

    def _stream_of(self, call: Call) -> StreamSpec[Any]:
        """The stream of the processor that makes a call about its state."""
        name = call.keys[0].rpartition(":")[2]
        return next(each.stream for each in self._processors if each.name == name)
