"""Orders the sends to one partition: one at a time, and those that wait for room let others pass.

It is a lock like `asyncio.Lock`, with two differences. Most sends find it free, and take it with an
assignment. And a holder that finds the partition full can act for the waiters: it fails those that
do not wait for room, and lets those that make room by themselves go first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.producer.error_copies import copy_of


class Waiter(NamedTuple):
    """A send that waits for its turn."""

    send: object
    turn: asyncio.Future[None]
    #: When it asked, and until when it waits for room, by the loop's clock.
    since: float = 0.0
    until: float = inf
    #: Does it make room by itself?
    drops_oldest: bool = False
    #: The event of the handler that sends, if one does.
    event: CurrentEvent | None = None


class SendOrder:
    """Lets one send go after the other. `holder` is the send whose turn it is: a caller that sees
    None may set it, before any other task runs, and then has the turn."""

    def __init__(self) -> None:
        self.holder: object | None = None
        self._waiters: deque[Waiter] = deque()
        #: The sleep of the holder, which a new waiter ends.
        self._sleep: asyncio.Future[None] | None = None

    async def acquire(self, send: object, since: float, until: float, drops_oldest: bool) -> None:
        """Wait for the turn. Raises the error of `fail_waiters`."""
        turn = self.enter(send, since, until, drops_oldest)
        if turn is not None:
            await self.wait_for(send, turn)

    def enter(
        self, send: object, since: float, until: float, drops_oldest: bool
    ) -> asyncio.Future[None] | None:
        """Take the turn if nobody has it, else a place among the waiters: returns its future."""
        if self.holder is None:
            self.holder = send
            return None
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        event = CURRENT_EVENT.get()
        self._waiters.append(Waiter(send, turn, since, until, drops_oldest, event))
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(None)
        return turn

    def release(self, send: object) -> None:
        """Give the turn to the next waiter, if this send has it."""
        if self.holder is not send:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.turn.done():
                self.holder = waiter.send
                waiter.turn.set_result(None)
                return
        self.holder = None

    def fail_waiters(self, error: Exception, which: Callable[[Waiter], bool]) -> None:
        """End the waits of some with a copy of this error."""
        for waiter in self._waiters:
            if not waiter.turn.done() and which(waiter):
                waiter.turn.set_exception(copy_of(error))

    async def let_droppers_pass(self) -> None:
        """Let the waiters that make room by themselves go first, then take the turn again.

        If it is cancelled meanwhile, the caller no longer has the turn.
        """
        waiting = [each for each in self._waiters if not each.turn.done()]
        first = [each for each in waiting if each.drops_oldest]
        if not first:
            return
        send, turn = self.holder, asyncio.get_running_loop().create_future()
        rest = [each for each in waiting if not each.drops_oldest]
        self._waiters = deque((*first, Waiter(send, turn), *rest))
        self.release(send)
        await self.wait_for(send, turn)

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` at most: shorter if a waiter comes, or stops waiting."""
        loop = asyncio.get_running_loop()
        first = min((each.until for each in self._waiters if not each.turn.done()), default=inf)
        seconds = max(0.0, min(seconds, first - loop.time()))
        self._sleep = sleep = loop.create_future()
        try:
            await asyncio.wait((sleep,), timeout=seconds)
        finally:
            self._sleep = None

    async def wait_for(self, send: object, turn: asyncio.Future[None]) -> None:
        """Wait for the turn of a send that has entered. Raises the error of `fail_waiters`."""
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release(send)  # It got the turn, and was cancelled before it could begin.
            raise
