"""An event loop with virtual time, and virtual processes that run on it.

Nothing here depends on real time, threads, memory addresses or the order of a set: the same program
does the same each time. Every callback belongs to the process that scheduled it, through a context
variable that asyncio copies into tasks and callbacks. So a process can be stopped (`pause`, as
SIGSTOP does) or ended (`kill`, as SIGKILL does) at any moment.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

#: After this many callbacks at the same virtual time the program counts as livelocked.
_STUCK = 200_000


class Process:
    """A virtual operating system process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.dead = False
        #: Callbacks that became due while the process was paused or dead.
        self.waiting: list[_Call] = []
        self.tasks: list[asyncio.Task[Any]] = []

    def __repr__(self) -> str:
        return self.name


_process: ContextVar[Process | None] = ContextVar("process", default=None)


def current_process() -> Process:
    """The process that the running code belongs to."""
    process = _process.get()
    assert process is not None, "this code runs in no virtual process"
    return process


class Livelock(Exception):
    """Callbacks run endlessly while no virtual time passes."""


class _Call(asyncio.TimerHandle):
    """A callback with its due time and its process."""

    __slots__ = ("process",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: Any,
        loop: SimLoop,
        context: Context | None,
    ) -> None:
        super().__init__(when, callback, args, loop, context)
        self.process = self._context.get(_process)  # type: ignore[attr-defined]


class _Task(asyncio.Task[T]):
    """A task whose order in a set does not depend on its address."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class SimLoop(asyncio.AbstractEventLoop):
    """Timers, callbacks and tasks; no sockets, no threads."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[_Call] = deque()
        self._timers: list[tuple[float, int, _Call]] = []
        self._order = itertools.count()
        self._tasks = itertools.count(1)
        self._closed = False
        self._running = False
        #: Exceptions that were never retrieved, each with the message of asyncio.
        self.unhandled: list[tuple[str, BaseException | None]] = []
        #: Set to end `run` at once.
        self.failure: BaseException | None = None
        self.steps = 0

    # The interface that asyncio needs

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Call:
        call = _Call(self._now, callback, args, self, context)
        self._ready.append(call)
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Call:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> _Call:
        call = _Call(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), call))
        return call

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing: `run` skips cancelled timers."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], **options: Any
    ) -> asyncio.Task[T]:
        task = _Task(coro, loop=self, **options)
        task.number = next(self._tasks)
        if (process := _process.get()) is not None:
            process.tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        message, error = context["message"], context.get("exception")
        if self._closed or message.startswith("Task was destroyed"):
            return
        handle = context.get("handle")
        if isinstance(handle, _Call) and handle.process is None:
            self.failure = error  # An error of the simulation itself.
        else:
            self.unhandled.append((message, error))

    # The interface of the simulation

    def spawn(self, process: Process, main: Callable[[], Coroutine[Any, Any, T]]) -> None:
        """Start a program in a process."""

        def start() -> None:
            _process.set(process)
            self.create_task(main())

        Context().run(start)

    def pause(self, process: Process) -> None:
        """Stop running callbacks of the process."""
        process.paused = True

    def resume(self, process: Process) -> None:
        """Let it run again; callbacks that became due in the meantime run now."""
        process.paused = False
        if process.dead:
            return
        self._ready.extend(process.waiting)
        process.waiting = []

    def kill(self, process: Process) -> None:
        """End the process: none of its callbacks runs again."""
        process.dead = True

    def run(self, until: float) -> None:
        """Run until the virtual time `until`. Raises `failure` once it is set, and Livelock."""
        asyncio._set_running_loop(self)
        self._running = True
        still = self.steps
        try:
            while self.failure is None:
                if not self._ready:
                    if not self._timers or self._timers[0][0] > until:
                        self._now = max(self._now, until)
                        return
                    when, _, call = heapq.heappop(self._timers)
                    if when > self._now:
                        self._now, still = when, self.steps
                    self._ready.append(call)
                call = self._ready.popleft()
                if call.cancelled():
                    continue
                process = call.process
                if process is not None and (process.paused or process.dead):
                    process.waiting.append(call)
                    continue
                self.steps += 1
                if self.steps - still > _STUCK:
                    raise Livelock(f"{_STUCK} steps at {self._now:.6f}, the last of {process}")
                call._run()
            raise self.failure
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def dispose(self, processes: list[Process]) -> None:
        """Cancel the tasks of all processes, dead ones too, and let them end."""
        self.failure = None
        self._timers = [each for each in self._timers if each[2].process is not None]
        heapq.heapify(self._timers)
        pending = []
        for process in processes:
            process.dead = False
            self.resume(process)
            pending += [task for task in process.tasks if not task.done()]
        for task in pending:
            task.cancel()
        self.run(self._now + 60)
        self.abandon()

    def abandon(self) -> None:
        """Close the loop; tasks that did not end are not reported."""
        self._closed = True
