"""Keeps one object for each event loop, for objects such as connections that only one loop may use.

Programs without a loop of their own call `asyncio.run` for each send, in threads as well; a process
may fork. An object is kept as long as its loop lives, and closed when the loop ends. Some programs
never close their loops: a loop that does not run counts as ended once its thread has another loop,
or has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from runnel.background.sync_calls import at_fork

#: Seconds to wait for another thread's loop to close its objects.
_PATIENCE = 0.5


class Closable(Protocol):
    """An object that belongs to a loop."""

    async def close(self) -> None:
        """Close it, in its loop."""
        ...

    def abandon(self) -> None:
        """Close it when its loop does not run any more."""
        ...


T = TypeVar("T", bound=Closable)
Loop = asyncio.AbstractEventLoop
Guard = AsyncGenerator[None, None]


class PerLoop(Generic[T]):
    """Calls `make` once for each event loop, and keeps the object that it returns."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[Loop, T] = {}
        #: Generators that close each object at the end of its loop.
        self._guards: dict[Loop, Guard] = {}
        #: The thread that each was made in.
        self._threads: dict[Loop, threading.Thread] = {}
        self._lock = threading.Lock()
        _everywhere.add(self)

    def get(self) -> T:
        """The object of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._made.get(loop)
        return self._begin(loop) if found is None else found

    @property
    def made(self) -> bool:
        """Is there an object for a loop?"""
        return bool(self._made)

    async def close(self) -> None:
        """Close all objects, those of other threads' loops in these threads."""
        here = asyncio.get_running_loop()
        with self._lock:
            loops = list(self._made)
        elsewhere = []
        for loop in loops:
            if loop is not here and loop.is_running():
                with contextlib.suppress(RuntimeError):  # The loop ends just now, and closes it.
                    ended = asyncio.run_coroutine_threadsafe(self._close_own(loop), loop)
                    elsewhere.append(asyncio.wrap_future(ended))
            elif loop is not here:
                self._abandon(loop)
        await self._close_own(here)
        if elsewhere:
            await asyncio.wait(elsewhere, timeout=_PATIENCE)

    async def close_here(self) -> None:
        """Close the object of the running loop."""
        await self._close_own(asyncio.get_running_loop())

    def forget(self) -> None:
        """Forget all objects in a fork: the parent process still uses them."""
        # To close one, or let the garbage collector close it, would disturb the parent.
        _inherited.append((self._made, self._guards))
        self._made, self._guards, self._threads, self._lock = {}, {}, {}, threading.Lock()

    def _begin(self, loop: Loop) -> T:
        here = threading.current_thread()
        for other in self._ended(here):
            self._abandon(other)
        made = self._make()
        guard = self._guard(loop, made)
        _run_without_waiting(guard.__anext__())  # As far as its `yield`.
        with self._lock:
            self._made[loop], self._guards[loop], self._threads[loop] = made, guard, here
        return made

    def _ended(self, here: threading.Thread) -> list[Loop]:
        """The loops that were closed without ending their generators, as `asyncio.run` would, and
        those that probably nobody will run again. If one does run again, it gets a new object."""
        with self._lock:
            threads = list(self._threads.items())
        return [
            loop
            for loop, thread in threads
            if not loop.is_running()
            and (loop.is_closed() or thread is here or not thread.is_alive())
        ]

    async def _guard(self, loop: Loop, made: T) -> Guard:
        """Close the object when its loop ends its generators, as it does before it is closed."""
        try:
            yield
        finally:
            if self._made.get(loop) is made:
                self._take(loop)
                await made.close()

    async def _close_own(self, loop: Loop) -> None:
        made, guard = self._take(loop)
        if made is not None:
            await made.close()
        if guard is not None:
            await guard.aclose()

    def _abandon(self, loop: Loop) -> None:
        made, guard = self._take(loop)
        if made is not None:
            made.abandon()
        if guard is not None:
            _run_without_waiting(guard.aclose())  # To its end: nothing is left to close.

    def _take(self, loop: Loop) -> tuple[T | None, Guard | None]:
        with self._lock:
            self._threads.pop(loop, None)
            return self._made.pop(loop, None), self._guards.pop(loop, None)


def _run_without_waiting(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that does not wait for anything, as far as it goes."""
    with contextlib.suppress(StopIteration):
        work.send(None)


_everywhere: weakref.WeakSet[PerLoop[Any]] = weakref.WeakSet()
#: Objects of the parent process, kept so that the garbage collector does not close them.
_inherited: list[object] = []


def _forget_all() -> None:
    for each in list(_everywhere):
        each.forget()


at_fork(_forget_all)
