"""How a thread waits for another one; under gevent, how a greenlet does, while others go on.

gevent replaces the threads of Python by greenlets, which share one thread of the system. There the
background loop runs in a real thread all the same: otherwise its event loop would count as the
running loop of every greenlet.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from _thread import allocate_lock
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol


class Waiter(Protocol):
    """Waits once, until another thread wakes it."""

    def wait(self, seconds: float = -1) -> bool:
        """Wait until `wake` was called, for so many seconds; -1 for no limit. Was it?"""
        ...

    def wake(self) -> None:
        """End the wait. Called once, from another thread."""
        ...

    def close(self) -> None:
        """Nobody waits any more."""
        ...


class ThreadWaiter:
    """Lets a thread wait."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def wait(self, seconds: float = -1) -> bool:
        """Wait until `wake` was called, for so many seconds; -1 for no limit. Was it?"""
        return self._lock.acquire(timeout=seconds)

    def wake(self) -> None:
        """End the wait. Called once, from another thread."""
        self._lock.release()

    def close(self) -> None:
        """Nobody waits any more."""


class GreenletWaiter:
    """Lets a greenlet wait, while the others of its thread go on."""

    def __init__(self, gevent: Any) -> None:
        self._event = import_module("gevent.event").Event()
        self._watcher = gevent.get_hub().loop.async_()
        self._watcher.start(self._event.set)
        self._closed = False
        #: A real lock: gevent's own are for greenlets. Nothing waits while it is held.
        self._lock = _original("_thread", "allocate_lock")()

    def wait(self, seconds: float = -1) -> bool:
        """Wait until `wake` was called, for so many seconds; -1 for no limit. Was it?"""
        return bool(self._event.wait(None if seconds < 0 else seconds))

    def wake(self) -> None:
        """End the wait. Called once, from another thread."""
        with self._lock:
            if not self._closed:
                self._watcher.send()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._closed = True
            self._watcher.stop()
            self._watcher.close()


def waiter() -> Waiter:
    """A waiter for the code that calls this."""
    gevent = _gevent()
    return ThreadWaiter() if gevent is None else GreenletWaiter(gevent)


def start_thread(work: Callable[[], None], name: str) -> None:
    """Run `work` in a real thread, which does not keep the process alive, and gets no signals.

    Raises RuntimeError if the system has no thread left, or the interpreter ends.
    """

    def run() -> None:
        if hasattr(signal, "pthread_sigmask"):
            # A signal shall wake the main thread, where Python runs the handlers.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        work()

    if _gevent() is None:
        threading.Thread(target=run, name=name, daemon=True).start()
    else:
        _original("_thread", "start_new_thread")(run, ())


def _gevent() -> Any:
    """The package, if it has replaced the threads of this process."""
    monkey = sys.modules.get("gevent.monkey")
    with contextlib.suppress(AttributeError):  # It is being imported.
        if monkey is not None and monkey.is_module_patched("threading"):
            return import_module("gevent")
    return None


def _original(module: str, name: str) -> Any:
    """What gevent has replaced."""
    return import_module("gevent.monkey").get_original(module, name)
