"""Threads for the plain functions of one processor.

asyncio's own pool will not do: it has a few threads for the whole process, and user code may fill
it with calls of `asyncio.to_thread` that wait for the very handlers that then find no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

#: Threads of one processor in one process at the most. A partition needs one while its function
#: runs; where more partitions are held, they share these, first come, first served.
MOST = 256
#: Seconds after which an unused thread ends.
UNUSED = 10.0
#: What an unused one is called.
IDLE = "runnel, idle"


class Job(NamedTuple):
    """A call that somebody waits for."""

    name: str
    context: contextvars.Context
    call: Callable[[Any], Any]
    argument: Any
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Threads:
    """Made as they are needed. They are daemons: a call that never returns keeps no process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        #: Guards the two numbers: of jobs that are not done, and of threads. Nobody waits for a job
        #: with it: to hand over a lock takes longer than most jobs.
        self._lock = threading.Lock()
        self._undone = 0
        self._count = 0

    async def run(self, call: Callable[[Any], Any], argument: Any) -> Any:
        """`call(argument)` in a thread that is named like this task, with its context variables.

        Whoever is cancelled meanwhile does not wait; a call that has begun goes on to its end.
        Raises what `call` raises, and RuntimeError if the system gives no thread.
        """
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        name = task.get_name() if task else "runnel"
        answer = loop.create_future()
        self._give(Job(name, contextvars.copy_context(), call, argument, answer, loop))
        return await answer

    def _give(self, job: Job) -> None:
        with self._lock:
            self._undone += 1
            # While there are as many threads as jobs, each job finds one.
            short = self._count < min(self._undone, self._most)
            self._count += short
        self._jobs.put(job)
        if not short:
            return
        try:
            threading.Thread(target=self._work, daemon=True, name=IDLE).start()
        except RuntimeError:
            with self._lock:
                self._count -= 1
                if self._count:
                    return  # Whoever is done next takes it.
            job.answer.cancel()
            raise

    def _work(self) -> None:
        while (job := self._next()) is not None:
            answer: Callable[[], None] | None = None
            if not job.answer.cancelled():
                threading.current_thread().name = job.name
                answer = _carry_out(job)
                threading.current_thread().name = IDLE
            with self._lock:
                self._undone -= 1
            if answer is not None:
                _answer(job, answer)
            del job, answer  # Nothing of it is kept while this waits.

    def _next(self) -> Job | None:
        """The next job, or None once there was none for long enough."""
        while True:
            with contextlib.suppress(Empty):
                return self._jobs.get(timeout=UNUSED)
            with self._lock:
                if self._undone < self._count:
                    self._count -= 1
                    return None
            # A job counts on this thread: it is on its way.


def _carry_out(job: Job) -> Callable[[], None]:
    """Make the call. Returns what gives the outcome to whoever waits."""
    try:
        result = job.context.run(job.call, job.argument)
    except BaseException as error:  # It is for whoever waits.
        return functools.partial(job.answer.set_exception, error)
    return functools.partial(job.answer.set_result, result)


def _answer(job: Job, answer: Callable[[], None]) -> None:
    def settle() -> None:
        if not job.answer.done():
            answer()

    with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
        job.loop.call_soon_threadsafe(settle)
