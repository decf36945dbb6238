"""Threads for the plain functions of one processor.

asyncio's own pool will not do: it has a few threads for the whole process, and user code may fill
it with calls of `asyncio.to_thread` that wait for the very handlers that then find no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
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
        self._jobs: deque[Job] = deque()
        #: Guards the jobs and the two numbers.
        self._changed = threading.Condition(threading.Lock())
        self._count = 0
        self._waiting = 0

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
        with self._changed:
            self._jobs.append(job)
            if self._waiting >= len(self._jobs):
                self._changed.notify()
                return
            if self._count >= self._most:
                return  # Whoever is done next takes it.
            self._count += 1
        try:
            threading.Thread(target=self._work, daemon=True, name=IDLE).start()
        except RuntimeError:
            with self._changed:
                self._count -= 1
                if self._count:
                    return
                self._jobs.remove(job)
            raise

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if not job.answer.cancelled():
                threading.current_thread().name = job.name
                _carry_out(job)
                threading.current_thread().name = IDLE
            del job  # Nothing of it is kept while this waits.

    def _next(self) -> Job | None:
        """The next job, or None once there was none for long enough."""
        with self._changed:
            while not self._jobs:
                self._waiting += 1
                told = self._changed.wait(UNUSED)
                self._waiting -= 1
                if not told and not self._jobs:
                    self._count -= 1
                    return None
            return self._jobs.popleft()


def _carry_out(job: Job) -> None:
    try:
        result = job.context.run(job.call, job.argument)
    except BaseException as error:  # It is for whoever waits.
        _answer(job, job.answer.set_exception, error)
    else:
        _answer(job, job.answer.set_result, result)


def _answer(job: Job, answer: Callable[[Any], None], what: Any) -> None:
    def settle() -> None:
        if not job.answer.done():
            answer(what)

    with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
        job.loop.call_soon_threadsafe(settle)
