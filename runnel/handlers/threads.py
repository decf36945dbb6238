"""Runs the plain functions of one processor in threads.

The thread pool of asyncio cannot be used: it has few threads for the whole process. User code may
fill it with calls of `asyncio.to_thread` that wait for handlers, which then would get no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from runnel.delivery import forked

#: Threads of one processor in one process at most. A partition needs one while its function runs.
#: If the worker holds more partitions, they share the threads, first come, first served.
MOST = 256
#: Seconds after which an unused thread ends.
UNUSED = 10.0
#: Name of an unused thread.
IDLE = "runnel, idle"


class Job(NamedTuple):
    """A call to make in a thread. `answer` gets its outcome."""

    name: str
    context: contextvars.Context
    call: Callable[[Any], Any]
    argument: Any
    answer: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    process: int


class Threads:
    """Threads that start when they are needed. They are daemons: a call that never returns does not
    keep the process alive."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        #: Guards `_undone` (jobs that are not done) and `_count` (threads). It is not held while
        #: waiting for a job: passing a lock to another thread takes longer than most jobs.
        self._lock = threading.Lock()
        self._undone = 0
        self._count = 0

    async def run(self, call: Callable[[Any], Any], argument: Any) -> Any:
        """`call(argument)` in a thread that is named like this task, with its context variables.

        If the caller is cancelled, it does not wait, and a call that has begun runs to its end.
        Raises the exception of `call`, and RuntimeError if the system has no thread left.
        """
        if self._process != os.getpid():
            self._begin()  # A fork has no thread of its parent.
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        name = task.get_name() if task else "runnel"
        answer = loop.create_future()
        context = contextvars.copy_context()
        self._give(Job(name, context, call, argument, answer, loop, self._process))
        return await answer

    @property
    def crowded(self) -> bool:
        """Does a call wait because all threads are taken?"""
        return self._undone > self._most

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
                    return  # The next thread that is done takes the job.
            job.answer.cancel()
            raise

    def _work(self) -> None:
        while (job := self._next()) is not None:
            answer: Callable[[], None] | None = None
            if not job.answer.cancelled():
                threading.current_thread().name = job.name
                answer = _carry_out(job)
                forked.check(job.process)
                threading.current_thread().name = IDLE
            with self._lock:
                self._undone -= 1
            if answer is not None:
                _answer(job, answer)
            del job, answer  # Keep no reference while waiting.

    def _next(self) -> Job | None:
        """The next job, or None after `UNUSED` seconds without one."""
        while True:
            with contextlib.suppress(Empty):
                return self._jobs.get(timeout=UNUSED)
            with self._lock:
                if self._undone < self._count:
                    self._count -= 1
                    return None
            # A job was counted for this thread, and is about to arrive.


def _carry_out(job: Job) -> Callable[[], None]:
    """Make the call. Returns a function that sets the outcome of the future."""
    try:
        result = job.context.run(job.call, job.argument)
    except BaseException as error:  # The caller gets it.
        return functools.partial(job.answer.set_exception, error)
    return functools.partial(job.answer.set_result, result)


def _answer(job: Job, answer: Callable[[], None]) -> None:
    def settle() -> None:
        if not job.answer.done():
            answer()

    with contextlib.suppress(RuntimeError):  # The loop is closed, so nothing waits.
        job.loop.call_soon_threadsafe(settle)
