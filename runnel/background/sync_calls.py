"""Makes an asynchronous call for code without an event loop: `run_sync`.

A process has one `BackgroundLoop`, which starts at the first call and ends with the process. A fork
starts one of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from runnel.background.background_loop import BackgroundLoop, Call
from runnel.current_event import CURRENT_EVENT
from runnel.errors import LoopRunning, RunnelError

T = TypeVar("T")

#: Seconds that calls under way have when the process ends: fewer than a worker has to end.
EXIT_PATIENCE = 0.3
#: Seconds that a cancelled call has to end before its thread goes on.
CANCEL_PATIENCE = 1.0
#: Seconds after which a thread that was started must run.
START_PATIENCE = 10.0


class _Process:
    """What belongs to one process, and not to its forks."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.background: BackgroundLoop | None = None
        #: Reentrant: a handler of a signal may interrupt a start, and call as well.
        self.starting = threading.RLock()
        self.over = False


_process = _Process()
#: What the parents of this process have: kept, because the garbage collector would close it.
_inherited: list[_Process] = []
#: What else a fork must do first.
_in_forks: list[Callable[[], None]] = []


def run_sync(make: Callable[[], Coroutine[Any, Any, T]], instead: str) -> T:
    """The result of the coroutine that `make` returns, which runs in the background loop with the
    context variables of the caller. Raises what it raises.

    Raises LoopRunning if an event loop runs in this thread, with `instead` as what to write there;
    RunnelError if the process ends before the call. If the wait is interrupted, by Ctrl-C for
    instance, the call is cancelled.
    """
    background = refuse_in_a_loop(instead)
    if background is None or background.over:
        background = _start()
    call = Call(make)
    try:
        background.submit(call)
        _wait(background, call)
    except BaseException:
        background.abandon(call)
        if not call.done:
            call.waiter.wait(CANCEL_PATIENCE)
        raise
    finally:
        call.waiter.close()
    return _outcome(call)


def refuse_in_a_loop(instead: str) -> BackgroundLoop | None:
    """Raise LoopRunning if an event loop runs here: it would stand still while a call waits.
    Returns the background loop, if there is one.

    A cell of a notebook runs in an event loop as well. It may wait, as in any other call of a
    cell that takes time.
    """
    _check_fork()
    background = _process.background
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return background
    in_handler = CURRENT_EVENT.get() is not None
    in_background = background is not None and background.is_running_here()
    if not in_handler and not in_background and _in_a_notebook():
        return background
    where = "this handler is `async def`" if in_handler else "an event loop runs in this thread"
    raise LoopRunning(f"{where}, and would stand still while the call waits: use {instead}")


def at_fork(work: Callable[[], None]) -> None:
    """Do this in each fork of the process, before it makes its first call."""
    _in_forks.append(work)


def _wait(background: BackgroundLoop, call: Call[Any]) -> None:
    if not background.running and not call.waiter.wait(START_PATIENCE) and not background.running:
        raise RunnelError(
            f"the thread that sends did not start within {START_PATIENCE:g} s, and nothing was "
            "sent: this process runs no threads. uWSGI runs them with --enable-threads"
        )
    if not call.done:
        call.waiter.wait()


def _outcome(call: Call[T]) -> T:
    error = call.error
    if error is None:
        return call.result  # type: ignore[return-value]
    call.error = None  # The error keeps this frame alive, and the frame keeps the call.
    try:
        if isinstance(error, asyncio.CancelledError):
            ended = RunnelError(
                "the process ends, or what was sent was cancelled: it may have arrived"
            )
            ended.sent = getattr(error, "sent", ())
            raise ended from None
        raise error
    finally:
        del error


def _in_a_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    return hasattr(ipython and ipython.get_ipython(), "kernel")


def _start() -> BackgroundLoop:
    """The background loop, which is started if there is none."""
    process = _process
    with process.starting:
        if process.over:
            raise RunnelError("the process ends: nothing can be sent any more")
        current = process.background
        if current is None or current.over:
            made = BackgroundLoop()
            made.start()
            if process.background is not current:  # A handler of a signal was faster.
                made.close(0.0)
                return _start()
            process.background = current = made
    return current


def _check_fork() -> None:
    # Not every program that forks tells Python: uWSGI does not.
    if _process.pid != os.getpid():
        _after_fork()


def _after_fork() -> None:
    global _process
    _inherited.append(_process)
    _process = _Process()
    for each in _in_forks:
        each()


def _at_exit() -> None:
    _check_fork()
    process = _process
    process.over = True
    if process.background is not None:
        process.background.close(EXIT_PATIENCE)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
