"""Runs the coroutines of a command in one event loop that Ctrl-C leaves in order."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Runner:
    """Runs coroutines one after another in one event loop: uvloop if it is installed.

    Ctrl-C cancels the coroutine that runs, and `run` raises KeyboardInterrupt once that has ended.
    A second Ctrl-C raises it at once, and so does the first between two coroutines.

    asyncio.Runner does that too, but raises KeyboardInterrupt also while the loop stops. uvloop
    takes itself for running after that: it can neither run what cleans up nor be closed.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=_loop_factory())
        self._task: asyncio.Task[Any] | None = None
        self._in_loop = False
        self._interrupted = False
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.getsignal(signal.SIGINT)
        if self._is_ours():
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, _: object, error: object, traceback: object) -> None:
        self._in_loop, self._interrupted = True, False
        try:
            self._runner.close()
        finally:
            self._in_loop = False
            if self._is_ours():
                signal.signal(signal.SIGINT, self._before)
        if self._interrupted and error is None:
            raise KeyboardInterrupt

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._runner.get_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end. Raises KeyboardInterrupt after Ctrl-C, and what `work` raises."""
        loop = self.get_loop()
        task: asyncio.Task[T] = loop.create_task(work)
        self._task = task
        self._in_loop, self._interrupted = True, False
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            if not self._interrupted:
                raise
        finally:
            self._in_loop, self._task = False, None
        if self._interrupted:
            raise KeyboardInterrupt
        return task.result()

    def _is_ours(self) -> bool:
        """May the handler of SIGINT be replaced? Another one is that of the program around."""
        is_main = threading.current_thread() is threading.main_thread()
        return is_main and self._before is signal.default_int_handler

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        stops = self._task is not None and self._task.done()
        if not self._in_loop or (self._interrupted and not stops):
            raise KeyboardInterrupt
        self._interrupted = True
        if self._task and not stops:
            self._task.cancel()
            self.get_loop().call_soon_threadsafe(lambda: None)  # It may wait for I/O.


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
